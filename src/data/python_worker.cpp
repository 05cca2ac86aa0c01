#include "data/python_worker.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <utility>

#include "data/worker_programs.h"

namespace infinipipe {
namespace {

constexpr std::uint64_t kMaxAnswer = std::uint64_t{1} << 36;  // more is no answer
constexpr std::uint64_t kComplaint = ~std::uint64_t{0};
constexpr std::size_t kMostWorkers = 32;

// The Python that INFINIPIPE_PYTHON names, else set-up's own, else whatever there is.
std::string python() {
  const char* const named = std::getenv("INFINIPIPE_PYTHON");
  if (named != nullptr && *named != '\0') return named;
  std::error_code absent;
  return std::filesystem::exists(kSetUpPython, absent) ? kSetUpPython : "python3";
}

std::vector<std::string> command(const char* program, const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {python(), "-I", "-c", std::string(kCommonWorker) + program};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return all;
}

}  // namespace

PythonWorker::PythonWorker(const char* program, const std::vector<std::string>& arguments,
                           const NeededPackage& package)
    : process_(command(program, arguments)) {
  try {
    about_.resize(answer());
  } catch (const InputError& error) {
    const std::string missing = std::string("no module ") + package.name;
    if (std::string_view(error.what()).find(missing) == std::string_view::npos) throw;
    throw RunError(
        package.where,
        std::string("the Python package ") + package.name + " is missing from " + python(),
        "expected it for " + package.needed_for,
        std::string("run tools/setup.sh, or pip install ") + package.pin +
            " and name that Python in INFINIPIPE_PYTHON");
  }
  read(std::span(about_));
}

std::uint64_t PythonWorker::ask(char operation, std::uint64_t count,
                                std::span<const std::byte> content) {
  process_.write(std::as_bytes(std::span(&operation, 1)));
  process_.write(std::as_bytes(std::span(&count, 1)));
  process_.write(content);
  return answer();
}

std::string PythonWorker::ask_text(char operation, std::uint64_t count, std::string_view content) {
  std::string text(ask(operation, count, std::as_bytes(std::span(content))), '\0');
  read(std::span(text));
  return text;
}

std::uint64_t PythonWorker::answer() {
  std::uint64_t count = 0;
  read(std::span(&count, 1));
  if (count != kComplaint) {
    if (count > kMaxAnswer) throw RunError(python(), "the worker gives no sense");
    return count;
  }
  std::uint64_t length = 0;
  read(std::span(&length, 1));
  std::string message(std::min<std::uint64_t>(length, 2000), '\0');
  read(std::span(message));
  throw InputError("", message);
}

std::unique_ptr<PythonWorker> WorkerPool::take() {
  std::unique_lock lock(mutex_);
  const std::size_t most =
      std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, kMostWorkers);
  changed_.wait(lock, [&] { return !idle_.empty() || workers_ < most; });
  if (!idle_.empty()) {
    std::unique_ptr<PythonWorker> worker = std::move(idle_.back());
    idle_.pop_back();
    return worker;
  }
  ++workers_;
  lock.unlock();
  try {
    return start_();
  } catch (...) {
    give_back(nullptr);
    throw;
  }
}

void WorkerPool::give_back(std::unique_ptr<PythonWorker> worker) {
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

}  // namespace infinipipe
