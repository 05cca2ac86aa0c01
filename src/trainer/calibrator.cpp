#include "trainer/calibrator.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/statistics.h"

namespace infinipipe {
namespace {

constexpr double kGrain = 64.0;
// Beyond this a step was disturbed, or the profile is of another machine; it does not count more.
constexpr double kMost = 4.0;

}  // namespace

Calibrator::Calibrator(int stages, int ahead, bool on)
    : stages_(static_cast<std::size_t>(stages)), ahead_(ahead), on_(on) {}

void Calibrator::observe(int step, const Plan& plan, const Trace& measured) {
  if (!on_ || !plan.predicted) return;
  // A prediction's stages are the slowest replica's, so they are held against the one that was.
  const ReplicaId slowest = measured.slowest();
  std::vector<Seconds> busy(stages_, 0.0);
  for (const TraceEvent& event : measured.events) {
    if (event.replica != slowest) continue;
    busy.at(event.stage.index()) += event.end - event.begin;
  }
  Observation one{step, {}};
  for (std::size_t p = 0; p < stages_; ++p) {
    const StagePrediction& stage = plan.predicted->stages.at(p);
    const double planned = plan.stage_pace.empty() ? 1.0 : plan.stage_pace.at(p);
    const Seconds profile = (stage.compute + stage.recompute) / planned;
    if (!(profile > 0.0)) return;
    one.pace.push_back(std::clamp(busy[p] / profile, 1.0 / kMost, kMost));
  }
  observations_.push_back(std::move(one));
  // The next plan to be asked for is that of step + 1 + ahead or an earlier one.
  while (observations_.size() >
         static_cast<std::size_t>(kWindow) + static_cast<std::size_t>(ahead_) + 1) {
    observations_.pop_front();
  }
}

std::vector<double> Calibrator::pace_for(int step) const {
  std::vector<std::vector<double>> by_stage(stages_);
  for (auto one = observations_.rbegin(); one != observations_.rend(); ++one) {
    if (one->step > step - ahead_ - 1) continue;
    if (by_stage[0].size() == kWindow) break;
    for (std::size_t p = 0; p < stages_; ++p) by_stage[p].push_back(one->pace[p]);
  }
  if (by_stage[0].empty()) return {};
  std::vector<double> pace;
  for (const std::vector<double>& values : by_stage) {
    pace.push_back(std::max(1.0, std::round(median(values) * kGrain)) / kGrain);
  }
  return pace;
}

Json Calibrator::state() const {
  Json list = Json::array();
  for (const Observation& one : observations_) {
    list.push_back({{"step", one.step}, {"pace", one.pace}});
  }
  return {{"version", 1}, {"observations", list}};
}

void Calibrator::restore(const JsonView& state) {
  if (state.at("version").integer(0, 1000) != 1) state.at("version").fail("version 1");
  observations_.clear();
  state.at("observations").for_each([&](const JsonView& entry) {
    Observation one;
    one.step = static_cast<int>(entry.at("step").integer(0, 1LL << 30));
    const JsonView pace = entry.at("pace");
    pace.for_each([&](const JsonView& value) {
      one.pace.push_back(std::clamp(value.number(0.0), 1.0 / kMost, kMost));
    });
    if (one.pace.size() != stages_) pace.fail("one number for each of the stages");
    if (on_) observations_.push_back(std::move(one));
  });
}

}  // namespace infinipipe
