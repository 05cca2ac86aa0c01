// Small machines with round numbers, and clusters of them, for tests of whole systems.
#pragma once

#include <memory>
#include <vector>

#include "base/random.h"
#include "baselines/system.h"

namespace infinipipe::testing {

// 8 layers; a token costs 1 us forward and 2 us backward, 1e-9 s a token^2, 1 ms a chunk; 1 KB of
// activations a token and layer; states of 4 KB a layer; links that make an all-to-all count.
inline Profile toy_profile() {
  Profile profile;
  profile.source = "given";
  profile.machine = "toy";
  profile.forward = {1e-9, 1e-6, 1e-3, 1e-5};
  profile.backward = {2e-9, 2e-6, 2e-3, 2e-5};
  profile.embedding = {1e-8, 1e-8};
  profile.head = {1e-7, 2e-7};
  profile.memory.activation_bytes_per_token = 8192.0;
  profile.memory.input_bytes_per_token = 128.0;
  profile.memory.kv_bytes_per_token = 128.0;
  profile.memory.kv_grad_bytes_per_token = 128.0;
  profile.memory.head_bytes_per_token = 64.0;
  profile.memory.workspace_bytes = 1000.0;
  profile.memory.state_bytes_per_layer = 4096.0;
  profile.memory.state_embedding_bytes = 8192.0;
  profile.memory.state_head_bytes = 8192.0;
  profile.memory.state_constant_bytes = 500.0;
  profile.links.p2p_seconds = 1e-5;
  profile.links.p2p_bytes_per_second = 1e9;
  profile.links.p2p_bytes_per_token = 128.0;
  profile.links.all_to_all = {{2, 4e9}, {4, 3e9}, {8, 5e8}, {16, 2e8}};
  profile.links.all_to_all_bytes_per_token = 512.0;
  profile.device_memory_bytes = 2e7;
  return profile;
}

inline Profile toy_profile_with_gathers() {
  Profile profile = toy_profile();
  profile.links.all_gather = {{2, 4e6}, {4, 4e6}, {8, 2e6}, {16, 2e6}};
  profile.links.reduce_scatter = profile.links.all_gather;
  return profile;
}

inline SystemContext toy_cluster(int devices = 8, bool gathers = false) {
  SystemContext context;
  context.profile = gathers ? toy_profile_with_gathers() : toy_profile();
  context.layers = 8;
  context.devices = devices;
  context.devices_per_node = 4;
  return context;
}

// Mostly short, a few long.
inline std::vector<Tokens> skewed_lengths(Random& random, int count, Tokens longest) {
  std::vector<Tokens> lengths;
  for (int i = 0; i < count; ++i) {
    const double share = std::exp(-4.0 * random.uniform());
    lengths.push_back(
        std::max<Tokens>(1, static_cast<Tokens>(share * static_cast<double>(longest))));
  }
  return lengths;
}

}  // namespace infinipipe::testing
