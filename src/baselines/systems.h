// The table of systems that a comparison can run: every planner's pipelines, then the analytic
// ones. make_system(), help, errors, figures and pages read it, and docs/baselines.md is checked
// against it.
#pragma once

#include <memory>
#include <vector>

#include "baselines/system.h"
#include "core/names.h"
#include "planner/planners.h"

namespace infinipipe {

struct SystemRow {
  const char* name;
  const char* title;  // in figures and pages
  const char* line;   // one line for help and docs
  // The name that counts is the row's, not the context's.
  std::unique_ptr<System> (*make)(const SystemRow& row, const SystemContext& context);
  const PlannerRow* planner = nullptr;  // whose plans it runs; null: an analytic system
  // It gathers sharded states for each micro-batch (ZeRO-3), so that `overlap_gathers` decides
  // what it takes.
  bool gathers = false;
};

// planners() in order, then the analytic systems.
const std::vector<SystemRow>& systems();

// Throws InputError for an unknown name, naming the nearest.
const SystemRow& system_row(std::string_view name);

// Analytic systems that code refers to.
namespace system_name {
inline constexpr const char* kDeepspeed = "deepspeed";
inline constexpr const char* kFlexsp = "flexsp";
inline constexpr const char* kMegatron = "megatron";
inline constexpr const char* kMegatronDcp = "megatron-dcp";
inline constexpr const char* kAttentionBalanced = "attention-balanced";
}  // namespace system_name

}  // namespace infinipipe
