// From a configuration to what a run needs: engine options, a judged planner.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/rank_layout.h"
#include "infinipipe/core/config.h"
#include "infinipipe/planner/planner.h"
#include "runtime/engine.h"

namespace infinipipe {

class Ranks;

// Decides what "auto" means in this process.
void settle_communicator(TrainConfig& config, const Ranks* ranks);
// The same where a model only runs forward: of several processes each has a stage, whatever the
// stages were that it was trained on.
void settle_stages(TrainConfig& config, const Ranks* ranks);

// Throws InputError for a degree of sequence parallelism that cannot share the model's heads; for
// another number of processes than ranks, and a communicator that does not fit them; on a GPU for
// numbers and heads that attention has no kernel for there. `ranks` is null in a process that is
// alone.
void require_runnable(const TrainConfig& config, const Ranks* ranks);

// How many ranks the layout has: shards of stages of replicas.
int ranks_of(const TrainConfig& config);

// What to say where that many ranks of a process share fewer GPUs; empty where each has its own.
// They run in turn, so each one's times hold the others'.
std::string shared_gpus(int ranks, int gpus);
// What to say where shards of a stage are on different hosts, whose exchanges are part of every
// layer; empty where none are. `hosts`: of each rank of the layout.
std::string scattered_shards(const RankLayout& layout, const std::vector<std::string>& hosts);
// Says both of a run.
void warn_of_placement(const TrainConfig& config, const Ranks* ranks,
                       const std::function<void(const std::string&)>& warn);

// Throws what require_runnable() does.
Engine::Options make_engine_options(const TrainConfig& config,
                                    const std::vector<LayerRange>& stages, Ranks* ranks);

// What the profile says of memory, for ranks as the configuration has them: processes receive into
// memory of their own.
void count_received(const TrainConfig& config, Profile& profile);

// Planner with the simulator as its judge.
std::unique_ptr<Planner> make_judged_planner(const PlanContext& context);

// How many of what measured_matmul_flops() measures work at once: each rank has threads
// of its own on the processor; GPUs may be fewer.
double devices_at_work(Device device, std::size_t ranks);

// Matrix multiplication speed of one stage's threads on its device in the compute dtype, FLOP/s:
// the median of a few products, short ones on the processor. What MFU is measured against.
double measured_matmul_flops(const Engine::Options& options);

}  // namespace infinipipe
