// What one group of devices costs, in seconds and bytes, for the sequences that it gets: Ulysses
// sequence parallelism within the group, ZeRO-3 over all devices. DeepSpeed runs groups of one
// size, FlexSP groups of several. Compute, all-to-all and activations are those of the cost model
// for one stage that holds all layers.
#pragma once

#include <span>

#include "baselines/system.h"
#include "core/attention_pairs.h"
#include "infinipipe/cost/cost_model.h"

namespace infinipipe {

// What a group's time depends on.
struct GroupLoad {
  double token2 = 0.0;  // sum of squared lengths, less what the window hides
  Tokens tokens = 0;
  int sequences = 0;
  Tokens window = 0;  // the model's sliding_window; 0: none

  void add(Tokens length) {
    token2 += attention_token2(0, length, window);
    tokens += length;
    ++sequences;
  }
  void remove(Tokens length) {
    token2 -= attention_token2(0, length, window);
    tokens -= length;
    --sequences;
  }
};

// A degree of sequence parallelism with `recompute` of all layers recomputed. Immutable.
class DeviceGroupCost final {
 public:
  // Throws as CostModel and Collectives do.
  DeviceGroupCost(const SystemContext& context, int degree, int recompute);

  int degree() const { return degree_; }
  int recompute() const { return recompute_; }
  // Tokens that a group holds at once: whole tokens a device. Never above 2^50.
  Tokens capacity() const { return capacity_; }

  // The load of a group without sequences.
  GroupLoad no_load() const { return {.window = window_}; }
  // Forward and backward of one sequence without the group's constant.
  Seconds sequence(Tokens length) const {
    const auto n = static_cast<double>(length);
    return token2_ * attention_token2(n, window_) + token_ * n + slice_;
  }
  Seconds constant() const { return constant_; }
  // Compute and all-to-all of a micro-batch.
  Seconds busy(const GroupLoad& load) const {
    return token2_ * load.token2 + token_ * static_cast<double>(load.tokens) +
           slice_ * load.sequences + constant_;
  }
  // The same where ZeRO-3's gathers and reduce-scatters may take longer: in each direction the
  // larger of compute and gathers, and a group across nodes cannot gather during its all-to-all.
  Seconds seconds(const GroupLoad& load) const;
  // Least seconds of any micro-batch: its gathers.
  Seconds gather_seconds() const { return gather_forward_ + gather_backward_; }
  Bytes peak_bytes(const GroupLoad& load) const;
  // "overlapped", "waited for" (then they are part of the constant) or "in the profile".
  const char* gathers() const { return gathers_; }

 private:
  int degree_;
  int recompute_;
  Tokens capacity_ = 0;
  Tokens window_ = 0;
  double token2_ = 0.0;
  double token_ = 0.0;
  double slice_ = 0.0;
  Seconds constant_ = 0.0;
  // Of the forward alone; the backward is the rest.
  double forward_token2_ = 0.0;
  double forward_token_ = 0.0;
  double forward_slice_ = 0.0;
  Seconds forward_constant_ = 0.0;
  double exchange_forward_token_ = 0.0;  // all-to-all that keeps the gathers' links busy
  double exchange_backward_token_ = 0.0;
  Seconds gather_forward_ = 0.0;
  Seconds gather_backward_ = 0.0;
  const char* gathers_ = "in the profile";
  Bytes fixed_ = 0.0;
  double bytes_per_token_ = 0.0;  // of the group's tokens, on one device
};

// Degrees of sequence parallelism that the devices allow: powers of two from `least` that divide
// `devices` and have a bandwidth in the profile (1 needs none).
std::vector<int> group_degrees(const SystemContext& context, int least = 1);

// Static recomputation settings that users try: none, a quarter, half, three quarters and all of
// the layers.
std::vector<int> recompute_settings(int layers);

}  // namespace infinipipe
