// A model's chat template, which Jinja renders in Python processes beside this one.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "data/python_worker.h"

namespace infinipipe {

// The chat_template.jinja of a model's folder, else what tokenizer_config.json has. A template is
// code of whoever made the model: it runs in Jinja's sandbox, in a process that can open nothing
// and has 1 GiB of memory, and is ended where it takes too long. Thread-safe.
class ChatTemplate final {
 public:
  // Nothing is read before render().
  explicit ChatTemplate(std::string folder,
                        std::chrono::milliseconds most_time = std::chrono::seconds(10));

  // The request is Tokenizer::encode_chat()'s; the answer is for the tokenizer's worker. Throws
  // InputError naming `where` for what the template refuses, or takes too much time or memory for;
  // InputError naming the folder where it has no template; RunError where Jinja is missing.
  std::string render(std::string_view request, const std::string& where);

 private:
  std::unique_ptr<PythonWorker> start() const;

  std::string folder_;
  std::chrono::milliseconds most_time_;
  WorkerPool pool_;
};

}  // namespace infinipipe
