// Random machines and batches for the planner's property tests.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/random.h"
#include "infinipipe/planner/planner.h"
#include "infinipipe/sim/simulator.h"

namespace infinipipe::test {

// Lengths of one of many shapes: one token, all equal, one giant, heavy tail, two classes, ...
inline std::vector<Tokens> random_lengths(Random& random, int most_sequences, Tokens most_tokens) {
  const auto count = static_cast<std::size_t>(random.between(1, most_sequences));
  std::vector<Tokens> lengths(count);
  const Tokens small = random.between(1, std::max<Tokens>(1, most_tokens / 16));
  switch (random.between(0, 6)) {
    case 0:  // all equal
      for (Tokens& n : lengths) n = small;
      break;
    case 1:  // one giant among short ones
      for (Tokens& n : lengths) n = random.between(1, small);
      lengths[static_cast<std::size_t>(random.between(0, static_cast<int>(count) - 1))] =
          most_tokens;
      break;
    case 2:  // heavy tail
      for (Tokens& n : lengths) {
        const double u = 1.0 - random.uniform();
        n = std::min(most_tokens, static_cast<Tokens>(20.0 / std::pow(u, 1.2)) + 1);
      }
      break;
    case 3:  // all long
      for (Tokens& n : lengths) n = random.between(most_tokens / 2 + 1, most_tokens);
      break;
    case 4:  // multiples of one length: tails that are empty or full
      for (Tokens& n : lengths) n = small * random.between(1, 8);
      break;
    case 5:  // single tokens and a few others
      for (Tokens& n : lengths) n = random.uniform() < 0.8 ? 1 : random.between(1, most_tokens);
      break;
    default:
      for (Tokens& n : lengths) n = random.between(1, most_tokens);
  }
  return lengths;
}

// A machine with costs of any proportion, for `layers` layers.
inline Profile random_profile(Random& random, int layers) {
  Profile profile;
  profile.source = "given";
  profile.machine = "random";
  profile.dtype = "float32";
  const double token = 1e-6 * (0.2 + random.uniform());
  profile.forward = {.seconds_per_token2 = token * random.uniform() * 2e-3,
                     .seconds_per_token = token,
                     .seconds_per_chunk = random.uniform() < 0.3 ? 0.0 : 1e-4 * random.uniform(),
                     .seconds_per_slice = random.uniform() < 0.5 ? 0.0 : 1e-5 * random.uniform()};
  profile.backward = {.seconds_per_token2 = profile.forward.seconds_per_token2 * 2.5,
                      .seconds_per_token = token * 2.0,
                      .seconds_per_chunk = profile.forward.seconds_per_chunk * 2.0,
                      .seconds_per_slice = profile.forward.seconds_per_slice};
  if (random.uniform() < 0.3) {
    profile.forward.seconds_per_context_token = 0.1 * token * random.uniform();
    profile.backward.seconds_per_context_token = 0.2 * token * random.uniform();
  }
  profile.head = {.forward_seconds_per_token = token * 0.3 * random.uniform(),
                  .backward_seconds_per_token = token * 0.5 * random.uniform()};
  profile.head_in_forward = random.uniform() < 0.5;
  profile.memory.activation_bytes_per_token = 1000.0 * layers;
  profile.memory.input_bytes_per_token = 40.0 + 60.0 * random.uniform();
  profile.memory.kv_bytes_per_token = 100.0 * random.uniform();
  profile.memory.kv_grad_bytes_per_token = 2.0 * profile.memory.kv_bytes_per_token;
  profile.memory.head_bytes_per_token = 50.0 * random.uniform();
  profile.memory.workspace_bytes = 1e4;
  profile.memory.state_bytes_per_layer = 1e5;
  profile.memory.state_embedding_bytes = 1e5;
  profile.memory.state_head_bytes = 1e5;
  profile.links.p2p_seconds = 1e-6 * random.uniform();
  profile.links.p2p_bytes_per_second = 1e9;
  profile.links.p2p_bytes_per_token = 100.0;
  for (const int degree : {2, 4, 8}) {
    profile.links.all_to_all[degree] = 1e10;
    profile.links.all_gather[degree] = 1e10;
    profile.links.reduce_scatter[degree] = 1e10;
  }
  profile.links.all_to_all_bytes_per_token = 100.0;
  return profile;
}

// Memory layer by layer, from temporaries that hardly count to ones larger than what stays.
inline LayerwiseMemory random_layerwise(Random& random, const Profile& profile, int layers) {
  const double kept = profile.memory.activation_bytes_per_token / layers;
  const auto share = [&](double most) { return most * random.uniform() * random.uniform(); };
  return {.forward_bytes_per_token = share(2.0 * kept),
          .backward_bytes_per_token = share(3.0 * kept),
          .backward_bytes = share(2e4),
          .pending_bytes_per_token = share(kept),
          .head_bytes_per_token = share(kept),
          .head_block_tokens = std::floor(1.0 + share(2048.0)),
          .head_block_bytes_per_token = share(4.0 * kept)};
}

// From nearly all of a layer's forward to a small part of it, for few bytes or many.
inline RemakeCost random_around_attention(Random& random, const Profile& profile) {
  RemakeCost around;
  around.cost.seconds_per_token = random.uniform() * profile.forward.seconds_per_token;
  around.cost.seconds_per_chunk = random.uniform() * profile.forward.seconds_per_chunk;
  around.kept_bytes_per_token = 20.0 + 300.0 * random.uniform();
  return around;
}

// Between attention alone and everything: cheaper to make again than around attention, for more
// bytes.
inline RemakeCost random_mlp(Random& random, const Profile& profile) {
  RemakeCost mlp;
  mlp.cost.seconds_per_token = 0.6 * random.uniform() * profile.forward.seconds_per_token;
  mlp.cost.seconds_per_chunk = random.uniform() * profile.forward.seconds_per_chunk;
  mlp.kept_bytes_per_token = 100.0 + 900.0 * random.uniform();
  return mlp;
}

struct Case {
  PlanContext context;
  PlanRequest request;
};

// Memory from "all fits" to "hardly anything does".
inline Case random_case(std::uint64_t seed, int most_sequences, int most_stages,
                        Tokens most_tokens) {
  Random random(seed);
  Case result;
  PlanContext& context = result.context;
  context.parallelism.stages = static_cast<int>(random.between(1, most_stages));
  context.parallelism.sequence_parallel = 1 << random.between(0, 2);
  context.parallelism.data_parallel = random.uniform() < 0.1 ? 2 : 1;
  context.layers = context.parallelism.stages + static_cast<int>(random.between(0, 8));
  context.profile = random_profile(random, context.layers);
  if (seed % 3 == 1) {
    Random more(seed, 2);
    context.profile.memory.layerwise = random_layerwise(more, context.profile, context.layers);
  }
  if (seed % 4 > 1) {
    Random more(seed, 3);
    context.profile.remake[index_of(Keep::kAttention)] =
        random_around_attention(more, context.profile);
  }
  if (seed % 5 > 2) {
    Random more(seed, 4);
    context.profile.remake[index_of(Keep::kMlpInput)] = random_mlp(more, context.profile);
  }
  if (seed % 7 > 4) {
    Random more(seed, 5);
    context.profile.sliding_window = more.between(1, most_tokens);
  }
  if (seed % 2 == 0) context.config.degree = "auto";
  result.request.sequences = random_lengths(random, most_sequences, most_tokens);
  result.request.step = static_cast<int>(seed % 1000);
  if (random.uniform() < 0.7) {
    Tokens total = 0;
    Tokens longest = 0;
    for (const Tokens n : result.request.sequences) {
      total += n;
      longest = std::max(longest, n);
    }
    const double per_token = 1000.0 * context.layers /
                             (context.parallelism.stages * context.parallelism.sequence_parallel);
    const double share = std::pow(random.uniform(), 2.0);
    const double tokens =
        static_cast<double>(longest) * 0.1 + share * static_cast<double>(total) * random.uniform();
    context.bytes_per_stage = 2e4 +
                              4e5 * (context.layers + 2.0) / context.parallelism.sequence_parallel +
                              per_token * tokens;
  }
  return result;
}

// Up to 600 sequences, 16 stages and 200,000 tokens a sequence; sizes by their logarithm: as many
// batches from 1 to 24 sequences as from 24 to 600.
inline Case case_of_any_size(std::uint64_t seed) {
  Random random(seed, 1);
  const int sequences = static_cast<int>(std::pow(600.0, random.uniform()));
  const auto tokens = static_cast<Tokens>(200.0 * std::pow(1000.0, random.uniform()));
  return random_case(seed, sequences, 16, tokens);
}

}  // namespace infinipipe::test
