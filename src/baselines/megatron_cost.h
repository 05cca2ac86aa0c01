// What one chunk costs under Megatron-LM's degrees.
#pragma once

#include <vector>

#include "baselines/device_group_cost.h"
#include "baselines/megatron.h"
#include "baselines/pipeline_1f1b.h"

namespace infinipipe {

class MegatronCost final {
 public:
  // Without `ring` the exchange in the context ring costs nothing.
  MegatronCost(const SystemContext& context, const MegatronSetting& setting, bool ring = true);

  const MegatronSetting& setting() const { return setting_; }
  int group() const { return setting_.tensor * setting_.context; }
  // The load of a micro-batch without sequences.
  GroupLoad no_load() const { return {.window = model_.profile().sliding_window}; }
  // A packed micro-batch on a stage. Compute, activations and recomputation are those of the cost
  // model with a degree of tensor x context. Two things are added for each layer and direction.
  // First, two all-gathers and two reduce-scatters of the chunk's hidden states over the tensor
  // group, which are waited for. Second, the exchange of K and V in the context ring (in the
  // backward also dK and dV), as far as it takes longer than the attention of the block that is
  // computed meanwhile.
  ChunkCost chunk(int stage, const GroupLoad& load) const;
  Seconds message(const GroupLoad& load) const;
  // All layers of one chunk, forward and backward, without the ring's exchanges: a lower bound of
  // what the chunk takes under any schedule.
  Seconds least(const GroupLoad& load) const;
  // Gradients reduced and weights gathered over data x context, less what the step's last backward
  // and first forward hide.
  Seconds step_overhead(Seconds last_backward, Seconds first_forward) const;
  Bytes fixed_bytes(int stage) const;
  // Seconds of a layer's waits, for tests: tensor parallelism, and the ring's exposed part.
  Seconds tensor_seconds(const GroupLoad& load) const;
  Seconds ring_seconds(const GroupLoad& load, bool backward) const;

  // Bytes per second of one device to others in a group of so many within a node; 0: none known.
  static double inside_rate(const Profile& profile, int degree);

 private:
  MegatronSetting setting_;
  CostModel model_;
  int total_layers_;
  double tensor_per_token_ = 0.0;
  double ring_forward_per_token_ = 0.0;  // seconds of one block's K and V
  double ring_backward_per_token_ = 0.0;
  double attention_forward_ = 0.0;  // seconds of one block's attention per token^2
  double attention_backward_ = 0.0;
  Seconds reduce_ = 0.0;
  Seconds gather_ = 0.0;
  std::vector<Bytes> fixed_;
};

}  // namespace infinipipe
