// Owner of the Python package `tokenizers`.
#include "data/hugging_face_tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/utf8.h"
#include "data/chat_template.h"
#include "data/python_worker.h"
#include "data/worker_programs.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"
#include "infinipipe/base/steady_file.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 28;
constexpr std::int64_t kMostIds = std::int64_t{1} << 31;

class HuggingFaceTokenizer final : public Tokenizer {
 public:
  HuggingFaceTokenizer(std::string name, std::string file, bool special_in_text)
      : name_(std::move(name)),
        file_(std::move(file)),
        special_in_text_(special_in_text),
        template_(folder_of_model(file_)),
        pool_([this] { return start(); }) {
    if (SteadyFile(file_).size() > kMaxFileBytes) {
      throw InputError(file_, "is over " + std::to_string(kMaxFileBytes) + " bytes",
                       "expected a tokenizer.json");
    }
    std::string text;
    pool_.use([&](const PythonWorker& worker) { text = worker.about(); });
    const Json about = parse_json(text, file_);
    const JsonView view(about, file_);
    vocab_size_ = view.at("ids").integer(0, kMostIds - 1);
    begin_ = view.at("begin").integers(0, kMostIds);
    end_ = view.integer_or("end", vocab_size_);
    for (const std::int64_t id : begin_) vocab_size_ = std::max(vocab_size_, id + 1);
    vocab_size_ = std::max(vocab_size_, end_ + 1);
  }

  std::string name() const override { return name_; }
  std::int64_t vocab_size() const override { return vocab_size_; }
  std::vector<std::int64_t> begin_of_document() const override { return begin_; }
  std::int64_t end_of_document() const override { return end_; }
  bool needs_utf8() const override { return true; }

  std::vector<std::int64_t> encode(std::string_view text) const override {
    std::string repaired;
    text = with_valid_utf8(text, repaired);
    std::vector<std::uint32_t> ids;
    with_worker([&](PythonWorker& worker) {
      ids.resize(worker.ask('e', text.size(), std::as_bytes(std::span(text))));
      worker.read(std::span(ids));
    });
    return {ids.begin(), ids.end()};
  }

  ChatTokens encode_chat(std::string_view request, const std::string& where) const override {
    const std::string rendered = template_.render(request, where);
    std::vector<std::uint32_t> ids;
    ChatTokens chat;
    with_worker([&](PythonWorker& worker) {
      ids.resize(worker.ask('c', rendered.size(), std::as_bytes(std::span(rendered))));
      chat.loss.resize(ids.size() + 1);
      worker.read(std::span(ids));
      worker.read(std::span(chat.loss));
    });
    chat.joined_boundary = chat.loss.back() != 0;
    chat.loss.pop_back();
    chat.ids.assign(ids.begin(), ids.end());
    return chat;
  }

  std::string decode(std::span<const std::int64_t> ids) const override {
    std::vector<std::uint32_t> kept;
    for (const std::int64_t id : ids) {
      if (id < 0 || id >= vocab_size_) {
        throw InputError("tokenizer", "found id " + std::to_string(id),
                         "expected 0 to " + std::to_string(vocab_size_ - 1));
      }
      const bool begins = std::find(begin_.begin(), begin_.end(), id) != begin_.end();
      if (id != end_ && !begins) kept.push_back(static_cast<std::uint32_t>(id));
    }
    std::string text;
    with_worker([&](PythonWorker& worker) {
      text.resize(worker.ask('d', kept.size(), std::as_bytes(std::span(kept))));
      worker.read(std::span(text));
    });
    return text;
  }

 private:
  static std::string folder_of_model(const std::string& file) {
    const std::string folder = fs::path(file).parent_path().string();
    return folder.empty() ? "." : folder;
  }
  std::unique_ptr<PythonWorker> start() const {
    try {
      return std::make_unique<PythonWorker>(
          kTokenizerWorker, std::vector<std::string>{file_, special_in_text_ ? "special" : "plain"},
          NeededPackage{"tokenizers", kTokenizersPin, "a tokenizer.json", file_});
    } catch (const InputError& error) {
      throw InputError(file_, error.what(), "expected a tokenizer.json of Hugging Face's");
    }
  }
  template <class Act>
  void with_worker(const Act& act) const {
    pool_.use([&](PythonWorker& worker) {
      try {
        act(worker);
      } catch (const InputError& error) {
        throw InputError(file_, error.what());
      }
    });
  }

  std::string name_;
  std::string file_;
  bool special_in_text_;
  std::int64_t vocab_size_ = 0;
  std::vector<std::int64_t> begin_;
  std::int64_t end_ = 0;
  mutable ChatTemplate template_;
  mutable WorkerPool pool_;
};

}  // namespace

bool is_hugging_face_tokenizer(const std::string& name) {
  return fs::path(tokenizer_file(name)).extension() == ".json";
}

std::unique_ptr<Tokenizer> make_hugging_face_tokenizer(const std::string& name,
                                                       const TokenizerOptions& options) {
  return std::make_unique<HuggingFaceTokenizer>(name, tokenizer_file(name),
                                                options.special_in_text);
}

}  // namespace infinipipe
