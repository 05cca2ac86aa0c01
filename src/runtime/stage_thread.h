// A thread that runs one stage's jobs, one after the other.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "runtime/stage_executor.h"

namespace infinipipe {

// The thread sets its own number of intra-op threads and turns autograd off before anything else.
// start() and wait() are for one owner thread.
class StageThread final {
 public:
  using Make = std::function<std::unique_ptr<StageExecutor>()>;

  // Starts making the executor, on the thread; wait() tells when it is done.
  StageThread(int threads, Make make);
  // Waits for the running job; the executor is destroyed on its thread.
  ~StageThread();
  StageThread(const StageThread&) = delete;
  StageThread& operator=(const StageThread&) = delete;

  // The last job must have been waited for.
  void start(std::function<void(StageExecutor&)> job);
  // Returns when the job is done; what it threw, or null.
  std::exception_ptr wait();

  // For use between wait() and start() only. Null if it could not be made.
  StageExecutor* executor() { return executor_.get(); }

 private:
  void main(int threads, const Make& make);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void(StageExecutor&)> job_;
  bool busy_ = true;
  bool stop_ = false;
  std::exception_ptr thrown_;
  std::unique_ptr<StageExecutor> executor_;
  std::thread thread_;
};

}  // namespace infinipipe
