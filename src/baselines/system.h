// One seam for everything that can run a batch on a cluster: pipeline planners, whose plans the
// simulator judges, and the analytic systems (deepspeed, flexsp, megatron), whose step time follows
// from the same profile in closed form. docs/baselines.md says what each models and leaves out.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "infinipipe/base/json.h"
#include "infinipipe/core/config.h"
#include "infinipipe/core/plan.h"
#include "infinipipe/cost/evaluator.h"
#include "infinipipe/cost/profile.h"

namespace infinipipe {

// The cluster and the model, and what the user has fixed.
struct SystemContext {
  Profile profile;
  int layers = 0;  // of the model
  int devices = 1;
  int devices_per_node = 8;
  Bytes bytes_per_device = 0.0;  // 0: the profile's device memory; both 0: no limit
  // For pipeline systems: fixed degrees (their product is `devices`), else each system's own best.
  std::optional<Parallelism> parallelism;
  std::optional<std::vector<int>> layers_per_stage;  // with `parallelism` only
  // ZeRO-3's gathers and reduce-scatters, of deepspeed's and flexsp's micro-batches and of
  // pipelines' chunks: hidden behind compute where it is longer, or waited for in full.
  // docs/baselines.md compares both with published figures.
  bool overlap_gathers = true;
  PlannerConfig planner;  // of pipeline systems; `name` is ignored
  // Judges pipeline plans; must use the memory limit above. Analytic systems do not need it.
  std::shared_ptr<const Evaluator> evaluator;

  Bytes limit() const { return profile.limit(bytes_per_device); }
};

enum class SystemStatus {
  kOk,
  kOutOfMemory,  // the system cannot hold this batch at any setting (or at its tuned one)
};
const char* to_string(SystemStatus status);  // "ok", "out_of_memory"

// Sequences that one group of devices works on at once.
struct GroupShare {
  int devices = 1;
  std::vector<int> sequences;  // positions in the batch
  Seconds seconds = 0.0;       // what the group takes alone, its waits for others not counted
};

struct SystemResult {  // NOLINT(bugprone-exception-escape): of Json, whose moves do not throw
  SystemStatus status = SystemStatus::kOk;
  std::string reason;              // one line, where the status is not ok; all else is then 0
  Bytes missing = 0.0;             // but for this, of pipelines: what the nearest layout lacks
  Seconds seconds = 0.0;           // of the step
  double tokens_per_second = 0.0;  // of the whole cluster
  // Of pipelines their plan's (infinipipe::bubble()): of the instructions, not of `seconds`. Of
  // others 1 - busy device time / (devices x seconds), waiting for the slowest group. All-to-all,
  // TP and other communication that the device waits for inside a chunk count as busy.
  double bubble = 0.0;
  std::vector<Bytes> peak_bytes;  // a device's, per stage; one entry where there are no stages
  // Proven for what this system optimises over: a pipeline's batch under its parallelism
  // (cost/lower_bound.h), flexsp's own assignment problem, megatron's and deepspeed's work.
  Seconds lower_bound = 0.0;
  Seconds plan_seconds = 0.0;  // wall time of deciding; the only field that is not repeatable
  Json settings;               // object: what it won with; keys by system in docs/baselines.md
  std::optional<Plan> plan;    // of pipeline systems
  // Of analytic systems: micro-batches one after the other, each the groups that run side by side.
  // Every sequence of the batch stands in exactly one group.
  std::vector<std::vector<GroupShare>> micro_batches;
};

// A system bound to a cluster. run() is const, deterministic but for plan_seconds, and thread-safe.
class System {
 public:
  virtual ~System() = default;

  virtual const std::string& name() const = 0;
  // Fixes what this system's users choose once for a run (parallel degrees, recomputation
  // granularity) to what is fastest in total on `sample` (a step's lengths each); batches that do
  // not fit at a setting disqualify it. Without a call every run() chooses for its own batch.
  virtual void tune(std::span<const std::vector<Tokens>> sample) = 0;
  // One training step of these lengths (each >= 1; may be empty: zero seconds). Never throws for a
  // batch that does not fit: that is the status.
  virtual SystemResult run(const std::vector<Tokens>& sequences) const = 0;
};

// Those of systems() (baselines/systems.h), in its order.
std::vector<std::string> system_names();

// Throws InputError for an unknown name (naming the nearest), devices < 1, and a parallelism that
// is not of these devices or that the profile has no bandwidth for; for pipeline systems also where
// the evaluator is absent.
std::unique_ptr<System> make_system(const std::string& name, const SystemContext& context);

// Layouts that pipelines on these devices can have: the fixed one, where there is one, else the
// possible ones of cluster_layouts(), in its order.
std::vector<Parallelism> pipeline_parallelisms(const SystemContext& context);

// What no schedule of the batch on this cluster can beat: the least bound over all
// pipeline_parallelisms() (the fixed one, where there is one) that the batch can fit.
Seconds cluster_lower_bound(const SystemContext& context, std::span<const Tokens> sequences);

}  // namespace infinipipe
