#include "profile/group_samples.h"

#include <algorithm>

namespace infinipipe {
namespace {

// What a device's part of the exchanges of the stage's layers has, without recomputation.
Bytes exchanged(const InstructionSample& sample, const std::vector<LayerRange>& stages,
                const Profile& profile, int degree) {
  if (sample.op == Op::kWeightGrad) return 0.0;
  const double share =
      static_cast<double>(stages[sample.stage.index()].count()) / stages.back().end;
  return profile.links.all_to_all_bytes_per_token * share *
         static_cast<double>(sample.shape.tokens) / degree;
}

}  // namespace

double exchange_rate(const std::vector<InstructionSample>& samples,
                     const std::vector<LayerRange>& stages, const Profile& profile, int degree) {
  Bytes bytes = 0.0;
  Seconds seconds = 0.0;
  for (const InstructionSample& sample : samples) {
    bytes += exchanged(sample, stages, profile, degree);
    seconds += sample.exchange_seconds;
  }
  return seconds > 0.0 ? bytes / seconds : 0.0;
}

std::vector<InstructionSample> of_one_device(const std::vector<InstructionSample>& samples,
                                             const std::vector<LayerRange>& stages,
                                             const Profile& profile, int degree) {
  if (degree == 1) return samples;
  const double rate = profile.links.all_to_all.at(degree);
  std::vector<InstructionSample> result;
  for (InstructionSample sample : samples) {
    if (sample.shape.tokens < degree) continue;
    const double again = profile.exchanged_again(level_of(sample), stages.back().end) *
                         sample.keeping.remade() * static_cast<double>(sample.shape.tokens) /
                         degree;
    // No part of a time becomes less than a tenth of it, whatever the rate.
    const auto without = [](Seconds whole, Seconds part) {
      return std::max(0.1 * whole, whole - part);
    };
    sample.seconds = without(sample.seconds, sample.exchange_seconds);
    sample.recompute_seconds = without(sample.recompute_seconds, again / rate);
    sample.exchange_seconds = 0.0;
    ChunkShape& shape = sample.shape;
    shape.token2 /= degree;
    for (Tokens* tokens :
         {&shape.tokens, &shape.cut_tokens, &shape.cut_sequence_tokens, &shape.context})
      *tokens /= degree;
    result.push_back(sample);
  }
  return result;
}

}  // namespace infinipipe
