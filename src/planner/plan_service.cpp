#include "planner/plan_service.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/processor_time.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

using Clock = std::chrono::steady_clock;

Seconds since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

}  // namespace

class PlanService::Impl final {
 public:
  Impl(std::shared_ptr<const Planner> planner, std::function<PlanRequest(int)> request,
       const PlanServiceOptions& options)
      : planner_(std::move(planner)), request_(std::move(request)), options_(options) {
    INFINIPIPE_ASSERT(planner_ && request_, "a plan service needs a planner and requests");
    INFINIPIPE_ASSERT(options_.ahead >= 0 && options_.threads >= 1, "plan service options");
    if (options_.ahead == 0) return;
    for (int i = 0; i < options_.threads; ++i) workers_.emplace_back([this] { work(); });
  }

  ~Impl() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  Ready get(int step) {
    if (step < options_.first || step >= options_.end) {
      throw InputError("plan service", "step " + std::to_string(step),
                       "expected a step from " + std::to_string(options_.first) + " to " +
                           std::to_string(options_.end - 1));
    }
    if (options_.ahead > 0) return wait_for(step);
    const Clock::time_point began = Clock::now();
    Ready ready = make(request_(step));
    ready.waited = since(began);
    return ready;
  }

 private:
  enum class State { kQueued, kRunning, kDone };
  struct Job {
    State state = State::kQueued;
    PlanRequest request;
    Ready ready;
    std::exception_ptr error;
  };

  Ready make(const PlanRequest& request) const {
    const Seconds began = thread_seconds();
    Ready ready;
    ready.plan = planner_->plan(request);
    ready.processor = thread_seconds() - began;
    return ready;
  }

  Ready wait_for(int step) {
    std::unique_lock lock(mutex_);
    // Earlier steps are forgotten, except one that a thread is at: it forgets it itself.
    first_wanted_ = step;
    std::erase_if(jobs_, [&](const auto& entry) {
      return entry.first < step && entry.second.state != State::kRunning;
    });
    const int last = static_cast<int>(
        std::min<std::int64_t>(options_.end - 1, std::int64_t{step} + options_.ahead));
    for (int s = step; s <= last; ++s) {
      if (!jobs_.contains(s)) enqueue(s, lock);
    }
    wake_.notify_all();
    Seconds waited = 0.0;
    if (jobs_.at(step).state != State::kDone) {
      const Clock::time_point began = Clock::now();
      done_.wait(lock, [&] { return jobs_.at(step).state == State::kDone; });
      waited = since(began);
    }
    auto node = jobs_.extract(step);
    lock.unlock();
    if (node.mapped().error) std::rethrow_exception(node.mapped().error);
    node.mapped().ready.waited = waited;
    return std::move(node.mapped().ready);
  }

  void enqueue(int step, std::unique_lock<std::mutex>& lock) {
    // The caller's code runs without the lock; only the caller's thread adds jobs.
    lock.unlock();
    Job job;
    try {
      job.request = request_(step);
    } catch (...) {
      job.error = std::current_exception();
      job.state = State::kDone;
    }
    lock.lock();
    jobs_.emplace(step, std::move(job));
  }

  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      auto next = jobs_.end();
      wake_.wait(lock, [&] {
        if (stopping_) return true;
        next = std::find_if(jobs_.begin(), jobs_.end(),
                            [](const auto& entry) { return entry.second.state == State::kQueued; });
        return next != jobs_.end();
      });
      if (stopping_) return;
      const int step = next->first;
      Job& job = next->second;  // stays: running jobs are not erased
      job.state = State::kRunning;
      lock.unlock();
      Ready ready;
      std::exception_ptr error;
      try {
        ready = make(job.request);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      job.ready = std::move(ready);
      job.error = std::move(error);
      job.state = State::kDone;
      if (step < first_wanted_) jobs_.erase(step);
      done_.notify_all();
    }
  }

  const std::shared_ptr<const Planner> planner_;
  const std::function<PlanRequest(int)> request_;
  const PlanServiceOptions options_;
  std::mutex mutex_;
  std::condition_variable wake_;  // a job is queued, or the service stops
  std::condition_variable done_;  // a job is done
  std::map<int, Job> jobs_;       // by step
  int first_wanted_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

PlanService::PlanService(std::shared_ptr<const Planner> planner,
                         std::function<PlanRequest(int)> request, const PlanServiceOptions& options)
    : impl_(std::make_unique<Impl>(std::move(planner), std::move(request), options)) {}

PlanService::~PlanService() = default;

PlanService::Ready PlanService::get(int step) { return impl_->get(step); }

}  // namespace infinipipe
