#include "profile/fit.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/statistics.h"
#include "core/names.h"
#include "cost/regression.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// A stage's speed is only told apart where stages differ by more than this.
constexpr double kSameSpeed = 0.015;
// Chunks below so many tokens say more about fixed costs than about bytes a token.
constexpr Tokens kMemoryTokens = 256;

// token2, token, slice, chunk, context of `share` of the model's layers; then embedding, head,
// weight.
enum Feature { kToken2, kToken, kSlice, kChunk, kContext, kEmbedding, kHead, kWeight, kFeatures };

std::vector<double> layer_features(const ChunkShape& shape, double share) {
  std::vector<double> features(kFeatures, 0.0);
  features[kToken2] = shape.token2 * share;
  features[kToken] = static_cast<double>(shape.tokens) * share;
  features[kSlice] = shape.slices * share;
  features[kChunk] = share;
  features[kContext] = static_cast<double>(shape.context) * share;
  return features;
}

std::vector<bool> form(std::initializer_list<Feature> features) {
  std::vector<bool> used(kFeatures, false);
  for (const Feature feature : features) used[feature] = true;
  return used;
}

struct Observations {
  std::vector<Observation> forward;
  std::vector<Observation> backward;
  ByRemadeLevel<std::vector<Observation>> remakes;  // of levels with a price of their own
};

Observations observe(const std::vector<InstructionSample>& samples,
                     const std::vector<LayerRange>& stages, const std::vector<double>& speed,
                     double skipped) {
  const double total = stages.back().end;
  Observations all;
  for (const InstructionSample& sample : samples) {
    const std::size_t p = sample.stage.index();
    const double share = stages[p].count() / total;
    const auto tokens = static_cast<double>(sample.shape.tokens);
    const bool first = p == 0;
    const bool last = p + 1 == stages.size();
    Observation one{layer_features(sample.shape, share), sample.seconds * speed[p], sample.chunk};
    const Observation remake{layer_features(sample.shape, sample.keeping.remade() / total),
                             sample.recompute_seconds * speed[p], sample.chunk};
    const bool runs_again = starts_backward(sample.op) && sample.keeping.remade() > 0;
    const Keep level = level_of(sample);
    const bool own_price = level_of(level).profile_field != nullptr;
    if (runs_again && own_price) all.remakes[index_of(level)].push_back(remake);
    Observation as_forward = remake;  // whole layers but for what nothing needs
    as_forward.features[kToken] *= 1.0 - skipped;
    if (level != Keep::kInput) continue;  // the rounds with whole layers say the rest
    switch (sample.op) {
      case Op::kForward:
        if (first) one.features[kEmbedding] = tokens;
        if (last) one.features[kHead] = tokens;
        all.forward.push_back(one);
        break;
      case Op::kBackward:
      case Op::kInputGrad:
        if (first) one.features[kEmbedding] = tokens;
        if (sample.op == Op::kInputGrad) one.features[kWeight] = -tokens * share;
        all.backward.push_back(one);
        if (runs_again) all.forward.push_back(as_forward);
        break;
      case Op::kWeightGrad:
        one.features.assign(kFeatures, 0.0);
        one.features[kWeight] = tokens * share;
        all.backward.push_back(one);
        break;
    }
  }
  return all;
}

DirectionCost direction(const std::vector<double>& x) {
  return {x[kToken2], x[kToken], x[kChunk], x[kSlice], x[kContext]};
}

void fit_with_speed(const std::vector<InstructionSample>& samples,
                    const std::vector<LayerRange>& stages, const std::vector<double>& speed,
                    double skipped, Profile& profile) {
  const Observations all = observe(samples, stages, speed, skipped);
  // Contexts are in every form: few chunks are short slices behind long contexts, so a median would
  // hardly see what they say, and where they say nothing the coefficient is 0.
  const std::vector<std::vector<bool>> forward_forms = {
      form({kToken2, kToken, kContext, kEmbedding, kHead}),
      form({kToken2, kToken, kContext, kChunk, kEmbedding, kHead}),
      form({kToken2, kToken, kContext, kChunk, kSlice, kEmbedding, kHead})};
  const auto& forward_form = forward_forms[simplest_form(all.forward, forward_forms)];
  const std::vector<double> f = fit_relative(all.forward, forward_form).coefficients;
  const std::vector<std::vector<bool>> backward_forms = {
      form({kToken2, kToken, kContext, kEmbedding, kWeight}),
      form({kToken2, kToken, kContext, kChunk, kEmbedding, kWeight}),
      form({kToken2, kToken, kContext, kChunk, kSlice, kEmbedding, kWeight})};
  const auto& backward_form = backward_forms[simplest_form(all.backward, backward_forms)];
  const std::vector<double> b = fit_relative(all.backward, backward_form).coefficients;
  profile.forward = direction(f);
  profile.backward = direction(b);
  profile.embedding = {f[kEmbedding], b[kEmbedding]};
  // One figure for both, as they run together: a third of the multiplications are the forward's.
  profile.head = {f[kHead] / 3.0, f[kHead] * 2.0 / 3.0};
  profile.head_in_forward = true;
  profile.backward_weight_seconds_per_token = std::min(b[kWeight], b[kToken]);
  for (std::size_t i = 0; i < kRemadeLevels; ++i) {
    if (all.remakes[i].empty()) continue;
    std::vector<std::vector<bool>> forms = {form({kToken}), form({kToken, kChunk}),
                                            form({kToken, kChunk, kSlice})};
    if (kKeepLevels[i].attends_again) {
      for (std::vector<bool>& used : forms) used[kToken2] = used[kContext] = true;
    }
    const auto& used = forms[simplest_form(all.remakes[i], forms)];
    if (!profile.remake[i]) profile.remake[i].emplace();
    profile.remake[i]->cost = direction(fit_relative(all.remakes[i], used).coefficients);
  }
}

const char* name_of(Op op) {
  switch (op) {
    case Op::kForward:
      return "forward";
    case Op::kBackward:
      return "backward";
    case Op::kInputGrad:
      return "input gradient";
    case Op::kWeightGrad:
      return "weight gradient";
  }
  return "";
}

// What the coefficients must be multiplied by so that no chunk of some size holds more: a budget is
// kept by the most, not by the mean.
double most_over(const std::vector<Observation>& observations,
                 const std::vector<double>& coefficients) {
  constexpr double kRounding = 1.02;
  double most = 1.0;
  for (const Observation& one : observations) {
    if (one.features[0] < static_cast<double>(kMemoryTokens)) continue;
    most = std::max(most, one.value / predict(coefficients, one));
  }
  return most > kRounding ? most : 1.0;
}

}  // namespace

void fit_times(const std::vector<InstructionSample>& samples, const std::vector<LayerRange>& stages,
               double skipped, Profile& profile) {
  std::vector<double> speed(stages.size(), 1.0);
  profile.stage_speed.clear();
  fit_with_speed(samples, stages, speed, skipped, profile);
  if (stages.size() == 1) return;
  // Slower and faster stages: what their layers alone took against the prediction.
  const CostModel cost(profile, {.stages = static_cast<int>(stages.size())}, stages);
  std::vector<std::vector<double>> ratios(stages.size());
  for (const InstructionSample& sample : samples) {
    const std::size_t p = sample.stage.index();
    if (sample.op == Op::kBackward) {
      ratios[p].push_back(sample.seconds / cost.backward(sample.stage, sample.shape));
    }
    if (sample.keeping[Keep::kInput] > 0 && starts_backward(sample.op)) {
      ratios[p].push_back(sample.recompute_seconds /
                          cost.recompute(sample.stage, sample.shape, sample.keeping));
    }
  }
  bool differ = false;
  for (std::size_t p = 0; p < stages.size(); ++p) {
    if (ratios[p].empty()) return;
    speed[p] = 1.0 / median(ratios[p]);
    differ = differ || std::abs(speed[p] - speed[0]) > kSameSpeed * speed[0];
  }
  if (!differ) return;
  fit_with_speed(samples, stages, speed, skipped, profile);
  profile.stage_speed = speed;
}

void fit_temporaries(const std::vector<InstructionSample>& samples,
                     const std::vector<LayerRange>& stages, bool joins_attention,
                     Profile& profile) {
  LayerwiseMemory memory = profile.memory.layerwise.value_or(LayerwiseMemory{});
  // Chunks with a context hold more for each token than others where attention joins pieces, and
  // where sums are wider than elements (bfloat16). Elsewhere all hold alike, and one that holds
  // more was measured with something else's bytes.
  const DtypeRow* dtype = find_named(kDtypes, profile.dtype);
  const bool uneven = joins_attention || (dtype && dtype->bytes.element < dtype->bytes.accumulator);
  // What is left of each measured figure once its known parts are taken off.
  std::vector<double> forward;       // a token
  std::vector<double> forward_last;  // the same, from the last stage
  std::vector<Observation> backward;
  std::vector<const InstructionSample*> head;
  const double layer = profile.memory.activation_bytes_per_token / stages.back().end;
  for (const InstructionSample& sample : samples) {
    if (sample.temporary <= 0.0) continue;
    if (sample.keeping.remade() > 0) {
      // Nothing but recomputed layers: the last one's activations are there before the head runs.
      const MemoryCost& known = profile.memory;
      if (sample.op == Op::kForward && sample.shape.tokens >= kMemoryTokens &&
          sample.stage.index() + 1 == stages.size() &&
          sample.keeping == Keeping::of(Keep::kInput, stages[sample.stage.index()].count())) {
        // A last slice's K and V are nobody's to keep.
        const double cut = sample.shape.cut_sequence_tokens > 0
                               ? 0.0
                               : static_cast<double>(sample.shape.cut_tokens) /
                                     static_cast<double>(sample.shape.tokens);
        forward_last.push_back(sample.temporary / static_cast<double>(sample.shape.tokens) +
                               known.head_bytes_per_token + known.input_bytes_per_token - layer +
                               known.kv_bytes_per_token * cut);
      }
      continue;
    }
    const auto tokens = static_cast<double>(sample.shape.tokens);
    const bool last = sample.stage.index() + 1 == stages.size();
    if (sample.op == Op::kForward) {
      if (last) {
        head.push_back(&sample);
      } else if (sample.shape.tokens >= kMemoryTokens) {
        forward.push_back(sample.temporary / tokens);
      }
    } else if (starts_backward(sample.op)) {
      const auto cut = static_cast<double>(sample.shape.cut_tokens);
      const auto whole = static_cast<double>(sample.shape.cut_sequence_tokens);
      const double accumulators = whole > 0.0 ? whole - cut : -cut;  // opened, or its own
      const Bytes grads = profile.memory.kv_grad_bytes_per_token * accumulators;
      // Where a layer opens more than it frees, the last one has the most.
      const Bytes frees =
          layer * tokens -
          (sample.op == Op::kInputGrad ? memory.pending_bytes_per_token * tokens : 0.0);
      const int layers = stages[sample.stage.index()].count();
      const Bytes known = (last ? 0.0 : profile.links.p2p_bytes_per_token * tokens) + grads +
                          (layers - 1) * std::max(0.0, grads - frees);
      if (sample.temporary > known) {
        backward.push_back({{tokens, 1.0}, sample.temporary - known, sample.chunk});
      }
    }
  }
  if (!backward.empty()) {
    const Fit fit = fit_relative(backward, {true, true});
    const double most = uneven ? most_over(backward, fit.coefficients) : 1.0;
    memory.backward_bytes_per_token = most * fit.coefficients[0];
    memory.backward_bytes = most * fit.coefficients[1];
  }
  // On the last stage the head may have held more: each figure is as much as a layer holds or more.
  if (forward.empty() && !forward_last.empty()) {
    forward = {*std::min_element(forward_last.begin(), forward_last.end())};
  }
  memory.forward_bytes_per_token = std::max(0.0, uneven ? quantile(forward, 1.0) : median(forward));
  // Where layers hold more than the head, the figure says nothing of it.
  const double layers_hold = memory.forward_bytes_per_token - profile.memory.head_bytes_per_token;
  std::erase_if(head, [&](const InstructionSample* sample) {
    return sample->temporary <= 1.001 * layers_hold * static_cast<double>(sample->shape.tokens);
  });
  // Small chunks have constants that would pass for a small block; without others they must do.
  const auto large = [](const InstructionSample* sample) {
    return sample->shape.tokens >= kMemoryTokens;
  };
  if (std::count_if(head.begin(), head.end(), large) >= 4) {
    std::erase_if(head, [&](const InstructionSample* sample) { return !large(sample); });
  }
  // The head's block is a power of two: the one that explains most.
  double best = std::numeric_limits<double>::infinity();
  for (double block = 16.0; block <= 4096.0 && !head.empty(); block *= 2.0) {
    std::vector<Observation> observations;
    for (const InstructionSample* sample : head) {
      const auto tokens = static_cast<double>(sample->shape.tokens);
      observations.push_back({{tokens, std::min(tokens, block)}, sample->temporary, sample->chunk});
    }
    const Fit fit = fit_relative(observations, {true, true});
    if (fit.error_p95 >= best) continue;
    best = fit.error_p95;
    memory.head_bytes_per_token = fit.coefficients[0];
    memory.head_block_bytes_per_token = fit.coefficients[1];
    memory.head_block_tokens = block;
  }
  // One stage that never recomputed all: its layers hold no more than the head hides.
  if (forward.empty()) {
    memory.forward_bytes_per_token =
        memory.head_bytes_per_token + memory.head_block_bytes_per_token;
  }
  profile.memory.layerwise = memory;
}

Bytes predicted_temporary(const InstructionSample& sample, const CostModel& cost) {
  if (sample.op != Op::kForward) {
    return cost.backward_temporary(sample.stage, sample.shape, sample.keeping, sample.op);
  }
  // The cost model counts a last slice's K and V as kept; they are the layer's until it ends.
  ChunkShape shape = sample.shape;
  if (shape.cut_sequence_tokens > 0) shape.cut_tokens = 0;
  return cost.forward_temporary(sample.stage, shape, sample.keeping);
}

Bytes temporary_error(const InstructionSample& sample, Bytes predicted) {
  return std::max(
      {0.0, sample.temporary - predicted, predicted - (sample.temporary + sample.waited)});
}

std::vector<Residual> residuals_of(const std::vector<InstructionSample>& samples,
                                   const CostModel& cost) {
  std::vector<Residual> residuals;
  for (const InstructionSample& sample : samples) {
    const KeepLevel& level = level_of(level_of(sample));
    Residual one;
    one.kind = sample.kind;
    one.stage = sample.stage.value();
    one.tokens = sample.shape.tokens;
    one.slices = sample.shape.slices;
    one.context = sample.context;
    one.measured = sample.seconds;
    one.what = name_of(sample.op);
    one.predicted = cost.seconds(sample.op, sample.stage, sample.shape);
    if (level.keep == Keep::kInput) residuals.push_back(one);  // once
    if (sample.keeping.remade() == 0 || !starts_backward(sample.op)) continue;
    one.what = "recompute";
    if (*level.remade_part != '\0') one.what += std::string(", ") + level.remade_part;
    one.measured = sample.recompute_seconds;
    one.predicted = cost.recompute(sample.stage, sample.shape, sample.keeping);
    residuals.push_back(one);
  }
  return residuals;
}

}  // namespace infinipipe
