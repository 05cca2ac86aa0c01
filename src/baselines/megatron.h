// Megatron-LM: tensor parallelism with sequence parallelism, ring context parallelism, 1F1B over
// stages of equal layers, data parallelism with the optimizer sharded (ZeRO-1).
#pragma once

#include <memory>

#include "baselines/system.h"

namespace infinipipe {

struct MegatronSetting {
  int tensor = 1;
  int context = 1;
  int stages = 1;
  int data = 1;
  int recompute = 0;  // layers of each stage

  bool operator==(const MegatronSetting&) const = default;
};

struct MegatronOptions {
  std::vector<MegatronSetting> settings;  // empty: megatron_settings
};

// Tensor degrees up to a node and stages that divide the layers, each with every recompute_settings
// of a stage's layers; all other devices are `data`, and `context` is 1. Degrees that the profile
// has no bandwidth for are left out.
std::vector<MegatronSetting> megatron_layouts(const SystemContext& context);
// Whether the profile has the bandwidths of a context group of so many ranks.
bool megatron_knows(const SystemContext& context, int tensor, int group);
[[noreturn]] void throw_no_degrees(const char* system, int devices);
// Those layouts, with every context degree that is a power of two.
std::vector<MegatronSetting> megatron_settings(const SystemContext& context);

std::unique_ptr<System> make_megatron(const SystemContext& context, MegatronOptions options = {});

}  // namespace infinipipe
