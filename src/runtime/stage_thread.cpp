#include "runtime/stage_thread.h"

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/grad_mode.h>

#include <utility>

#include "infinipipe/base/error.h"

namespace infinipipe {

StageThread::StageThread(int threads, Make make)
    : thread_([this, threads, make = std::move(make)] { main(threads, make); }) {}

StageThread::~StageThread() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void StageThread::start(std::function<void(StageExecutor&)> job) {
  {
    const std::lock_guard lock(mutex_);
    INFINIPIPE_ASSERT(!busy_, "a stage's job was started before the last one was waited for");
    job_ = std::move(job);
    busy_ = true;
  }
  changed_.notify_all();
}

std::exception_ptr StageThread::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !busy_; });
  return std::exchange(thrown_, nullptr);
}

void StageThread::main(int threads, const Make& make) {
  at::set_num_threads(threads);  // per thread, and a new thread may start from another's value
  const at::NoGradGuard no_grad;
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  const auto attempt = [this](const auto& body) {
    std::exception_ptr thrown;
    try {
      body();
    } catch (...) {
      thrown = std::current_exception();
    }
    {
      const std::lock_guard lock(mutex_);
      thrown_ = thrown;
      busy_ = false;
    }
    changed_.notify_all();
  };
  attempt([&] { executor_ = make(); });
  for (;;) {
    std::function<void(StageExecutor&)> job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stop_ || job_ != nullptr; });
      if (job_ == nullptr) break;
      job = std::exchange(job_, nullptr);
    }
    attempt([&] { job(*executor_); });
  }
  executor_.reset();
}

}  // namespace infinipipe
