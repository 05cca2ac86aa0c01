// Owner of the Python package `tokenizers`.
#include "data/hugging_face_tokenizer.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "base/utf8.h"
#include "data/tokenizer_worker.h"
#include "data/worker_process.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"
#include "infinipipe/base/steady_file.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 28;
constexpr std::uint64_t kMaxAnswer = std::uint64_t{1} << 36;  // more is no answer
constexpr std::uint64_t kComplaint = ~std::uint64_t{0};
constexpr std::size_t kMostWorkers = 32;
constexpr std::int64_t kMostIds = std::int64_t{1} << 31;

// The Python that INFINIPIPE_PYTHON names, else set-up's own, else whatever there is.
std::string python() {
  const char* const named = std::getenv("INFINIPIPE_PYTHON");
  if (named != nullptr && *named != '\0') return named;
  std::error_code absent;
  return fs::exists(kSetUpPython, absent) ? kSetUpPython : "python3";
}

class Worker final {
 public:
  // Throws InputError with what it says where it cannot work.
  Worker(const std::string& file, bool special_in_text)
      : process_(
            {python(), "-I", "-c", kTokenizerWorker, file, special_in_text ? "special" : "plain"}) {
    about_.resize(answer());
    read(std::span(about_));
  }

  // What it says of the tokenizer, as JSON.
  const std::string& about() const { return about_; }

  // A request, and its answer's number.
  std::uint64_t ask(char operation, std::uint64_t count, std::span<const std::byte> content) {
    process_.write(std::as_bytes(std::span(&operation, 1)));
    process_.write(std::as_bytes(std::span(&count, 1)));
    process_.write(content);
    return answer();
  }
  template <class Element, std::size_t Extent>
  void read(std::span<Element, Extent> into) {
    process_.read(std::as_writable_bytes(into));
  }

 private:
  std::uint64_t answer() {
    std::uint64_t count = 0;
    read(std::span(&count, 1));
    if (count != kComplaint) {
      if (count > kMaxAnswer) throw RunError("tokenizer", "its worker gives no sense");
      return count;
    }
    std::uint64_t length = 0;
    read(std::span(&length, 1));
    std::string message(std::min<std::uint64_t>(length, 2000), '\0');
    read(std::span(message));
    throw InputError("", message);
  }

  WorkerProcess process_;
  std::string about_;
};

class HuggingFaceTokenizer final : public Tokenizer {
 public:
  HuggingFaceTokenizer(std::string name, std::string file, bool special_in_text)
      : name_(std::move(name)), file_(std::move(file)), special_in_text_(special_in_text) {
    if (SteadyFile(file_).size() > kMaxFileBytes) {
      throw InputError(file_, "is over " + std::to_string(kMaxFileBytes) + " bytes",
                       "expected a tokenizer.json");
    }
    std::unique_ptr<Worker> worker = start();
    const Json about = parse_json(worker->about(), file_);
    const JsonView view(about, file_);
    vocab_size_ = view.at("ids").integer(0, kMostIds - 1);
    begin_ = view.at("begin").integers(0, kMostIds);
    end_ = view.integer_or("end", vocab_size_);
    for (const std::int64_t id : begin_) vocab_size_ = std::max(vocab_size_, id + 1);
    vocab_size_ = std::max(vocab_size_, end_ + 1);
    workers_ = 1;
    idle_.push_back(std::move(worker));
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
    with_worker([&](Worker& worker) {
      ids.resize(worker.ask('e', text.size(), std::as_bytes(std::span(text))));
      worker.read(std::span(ids));
    });
    return {ids.begin(), ids.end()};
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
    with_worker([&](Worker& worker) {
      text.resize(worker.ask('d', kept.size(), std::as_bytes(std::span(kept))));
      worker.read(std::span(text));
    });
    return text;
  }

 private:
  std::unique_ptr<Worker> start() const {
    try {
      return std::make_unique<Worker>(file_, special_in_text_);
    } catch (const InputError& error) {
      if (std::string_view(error.what()).find("no module tokenizers") != std::string_view::npos) {
        throw RunError(file_, "the Python package tokenizers is missing from " + python(),
                       "expected it for a tokenizer.json",
                       "run tools/setup.sh, or pip install " + std::string(kTokenizersPin) +
                           " and name that Python in INFINIPIPE_PYTHON");
      }
      throw InputError(file_, error.what(), "expected a tokenizer.json of Hugging Face's");
    }
  }
  // One that nobody else uses; a new one while there are few. What fails is not used again.
  template <class Act>
  void with_worker(const Act& act) const {
    std::unique_ptr<Worker> worker = take();
    try {
      act(*worker);
    } catch (const InputError& error) {  // it has said what is wrong, and goes on
      give_back(std::move(worker));
      throw InputError(file_, error.what());
    } catch (...) {
      give_back(nullptr);
      throw;
    }
    give_back(std::move(worker));
  }
  std::unique_ptr<Worker> take() const {
    std::unique_lock lock(mutex_);
    const std::size_t most =
        std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, kMostWorkers);
    changed_.wait(lock, [&] { return !idle_.empty() || workers_ < most; });
    if (!idle_.empty()) {
      std::unique_ptr<Worker> worker = std::move(idle_.back());
      idle_.pop_back();
      return worker;
    }
    ++workers_;
    lock.unlock();
    try {
      return start();
    } catch (...) {
      give_back(nullptr);
      throw;
    }
  }
  void give_back(std::unique_ptr<Worker> worker) const {
    {
      const std::lock_guard lock(mutex_);
      if (worker == nullptr) {
        --workers_;
      } else {
        idle_.push_back(std::move(worker));
      }
    }
    changed_.notify_one();
  }

  std::string name_;
  std::string file_;
  bool special_in_text_;
  std::int64_t vocab_size_ = 0;
  std::vector<std::int64_t> begin_;
  std::int64_t end_ = 0;

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable std::vector<std::unique_ptr<Worker>> idle_;
  mutable std::size_t workers_ = 0;
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
