// Owner of the Python package `jinja2`.
#include "data/chat_template.h"

#include <utility>

#include "data/worker_programs.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

ChatTemplate::ChatTemplate(std::string folder, std::chrono::milliseconds most_time)
    : folder_(std::move(folder)), most_time_(most_time), pool_([this] { return start(); }) {}

std::unique_ptr<PythonWorker> ChatTemplate::start() const {
  try {
    return std::make_unique<PythonWorker>(
        kChatWorker, std::vector{folder_},
        NeededPackage{"jinja2", kJinjaPin, "its chat template", folder_});
  } catch (const InputError& error) {
    const std::string_view what = error.what();
    constexpr std::string_view kExpected =
        "expected chat_template.jinja, or chat_template in tokenizer_config.json";
    if (what.find("no template") != std::string_view::npos) {
      throw InputError(folder_, "holds no chat template, and the data messages", kExpected);
    }
    throw InputError(folder_, "its chat template cannot be read: " + std::string(what), kExpected);
  }
}

std::string ChatTemplate::render(std::string_view request, const std::string& where) {
  std::string answer;
  std::string name;
  std::string ended;  // why the worker is gone
  try {
    pool_.use([&](PythonWorker& worker) {
      name = where + ": chat template " + worker.about();
      WorkerProcess& process = worker.process();
      process.set_deadline(std::chrono::steady_clock::now() + most_time_);
      try {
        answer = worker.ask_text('r', request.size(), request);
      } catch (const InputError& error) {
        throw InputError(name, error.what());
      } catch (const RunError& error) {
        ended = process.missed_deadline()
                    ? "did not end within " + std::to_string(most_time_.count()) + " ms"
                    : error.what();
        throw;  // so that the worker is not used again
      }
    });
  } catch (const RunError&) {
    if (ended.empty()) throw;
    throw InputError(name, ended);
  }
  return answer;
}

}  // namespace infinipipe
