// Our Python programs, which run in processes beside this one and answer over pipes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "data/worker_process.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

// A Python package that a worker cannot work without.
struct NeededPackage {
  const char* name;
  const char* pin;
  std::string needed_for;
  std::string where;  // the file that it is needed for
};

// The protocol of worker_common.py. Not thread-safe.
class PythonWorker final {
 public:
  // Runs worker_common.py and `program`, and takes its first answer. Throws InputError with what
  // it says where it cannot work, and RunError where it cannot be started or ends, or where the
  // package is missing from the Python that workers run in.
  PythonWorker(const char* program, const std::vector<std::string>& arguments,
               const NeededPackage& package);

  // Its first answer.
  const std::string& about() const { return about_; }

  // A request, and its answer's number. Throws InputError with what is wrong with the request; the
  // worker goes on.
  std::uint64_t ask(char operation, std::uint64_t count, std::span<const std::byte> content);
  // The same, and the whole answer where its number is that of its bytes.
  std::string ask_text(char operation, std::uint64_t count, std::string_view content);
  template <class Element, std::size_t Extent>
  void read(std::span<Element, Extent> into) {
    process_.read(std::as_writable_bytes(into));
  }

  WorkerProcess& process() { return process_; }

 private:
  std::uint64_t answer();

  WorkerProcess process_;
  std::string about_;
};

// Workers of one kind, shared by threads: at most one for each core. Thread-safe.
class WorkerPool final {
 public:
  // `start` makes one more, on the thread that needs it.
  explicit WorkerPool(std::function<std::unique_ptr<PythonWorker>()> start)
      : start_(std::move(start)) {}

  // Calls act(worker) with one that nobody else uses. It stays for others after an InputError; what
  // fails in another way is not used again.
  template <class Act>
  void use(const Act& act) {
    std::unique_ptr<PythonWorker> worker = take();
    try {
      act(*worker);
    } catch (const InputError&) {
      give_back(std::move(worker));
      throw;
    } catch (...) {
      give_back(nullptr);
      throw;
    }
    give_back(std::move(worker));
  }

 private:
  std::unique_ptr<PythonWorker> take();
  void give_back(std::unique_ptr<PythonWorker> worker);

  std::function<std::unique_ptr<PythonWorker>()> start_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<PythonWorker>> idle_;
  std::size_t workers_ = 0;
};

}  // namespace infinipipe
