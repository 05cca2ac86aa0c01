#include "trainer/plan_source.h"

#include <chrono>

namespace infinipipe {

struct PlanSource::Impl {
  std::shared_ptr<const Planner> planner;
  std::function<std::vector<Tokens>(int)> lengths;
};

PlanSource::PlanSource(std::shared_ptr<const Planner> planner,
                       std::function<std::vector<Tokens>(int)> lengths, int, int, int)
    : impl_(std::make_unique<Impl>(Impl{std::move(planner), std::move(lengths)})) {}

PlanSource::~PlanSource() = default;

PlanSource::Ready PlanSource::take(int step) {
  const auto start = std::chrono::steady_clock::now();
  Ready ready;
  PlanRequest request;
  request.sequences = impl_->lengths(step);
  request.step = step;
  ready.plan = impl_->planner->plan(request);
  ready.waited = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return ready;
}

}  // namespace infinipipe
