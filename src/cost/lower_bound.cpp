// docs/simulator.md ("Lower bound") derives every step; names here follow it.
#include "cost/lower_bound.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>

#include "core/attention_pairs.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// So that rounding never lifts the bound above a schedule that attains it.
constexpr double kRoundingGuard = 1.0 - 1e-12;
constexpr double kLimitSlack = 1.0 + 1e-9;  // nor a plan's peak above the limit it just meets

// The bound of one batch on one machine. What is counted once does not depend on the layer split.
//
// The bound is the larger of two times, for the number of chunks that makes this smallest. More
// chunks mean more work, since each chunk has a constant cost; fewer chunks mean a longer chain,
// since the average chunk that goes through all stages is larger.
class Bound final {
 public:
  Bound(const Profile& profile, const Parallelism& parallelism, int layers,
        std::span<const Tokens> sequences, Bytes limit, bool forward_only, bool sub_groups);

  // `split` empty: over every split.
  LowerBound find(std::span<const LayerRange> split);

 private:
  struct End {
    bool first = false;
    bool last = false;
  };
  End end_of(int stage) const { return {stage == 0, stage + 1 == stages_}; }
  double speed(int stage) const {
    return profile_.stage_speed.empty() ? 1.0
                                        : profile_.stage_speed[static_cast<std::size_t>(stage)];
  }

  // What it means for a token that a layer keeps something beside its input.
  struct Partly {
    double saves = 0.0;   // bytes against keeping everything; 0: no known level saves any
    double beside = 0.0;  // bytes that it keeps beside its input
    Seconds seconds = 0.0;
  };

  // Devices that may share a chunk: the whole sequence-parallel group, or a sub-group of it.
  struct Group {
    Profile profile;  // of this group (profile_of_group())
    double degree = 1.0;
    double all_to_all = 0.0;  // seconds per token and layer, one direction
    // Of a layer: bytes a token that it saves if it keeps its input alone, and the best that layers
    // do which keep more; of a sequence that stays whole.
    double saved = 0.0;
    Partly whole_part;

    Seconds exchange(Bytes bytes) const {  // between its devices
      return degree > 1.0 ? bytes / degree / profile.links.all_to_all.at(static_cast<int>(degree))
                          : 0.0;
    }
  };
  const Group& whole() const { return groups_.back(); }
  Group make_group(const Profile& profile, int degree) const;
  Partly cheapest_part(const Group& group, double full, bool cut) const;
  void count_work();
  // From which time of a step on a sequence of so many tokens may run in the group: its chunk must
  // go through all stages and back within it.
  Seconds passes_in(const Group& group, Tokens tokens) const;
  // Seconds of one layer in which devices exchange the batch's tokens in one direction, on the mean
  // of the sequence-parallel group's devices, if the step takes so long.
  Seconds exchange_work(Seconds step) const;
  LowerBound least(std::span<const LayerRange> split, double chunks);
  void note_forced_recomputation();
  Bytes available(int layers, End end) const;
  Seconds forced(Tokens tokens, int layers, End end) const;
  Seconds forced_in(const Group& group, Tokens tokens, int layers, End end) const;
  Seconds forced_at(int stage, int layers) const {
    const End end = end_of(stage);
    return forced_[(end.first ? 1 : 0) + (end.last ? 2 : 0)][static_cast<std::size_t>(layers)];
  }
  double chunk_capacity(int layers, End end) const;
  double least_chunks(std::span<const LayerRange> split) const;
  void fill_and_drain(std::span<const LayerRange> split);
  Seconds stage_seconds(int stage, int layers, double chunks) const;
  Seconds work(std::span<const LayerRange> split, double chunks) const;
  Seconds chain(std::span<const LayerRange> split, double chunks) const;
  Seconds forced_recomputation(std::span<const LayerRange> split) const;
  Seconds extra(int stage) const {
    const End end = end_of(stage);
    return (end.first ? embedding_ : 0.0) + (end.last ? head_ : 0.0);
  }

  const Profile profile_;  // of the whole group
  Parallelism parallelism_;
  int layers_;
  int stages_;
  double degree_;
  std::span<const Tokens> sequences_;
  Bytes limit_;
  bool forward_only_;

  std::vector<Group> groups_;  // by ascending degree, the whole one last

  // Seconds of one layer at speed 1.
  Seconds layer_work_ = 0.0;  // of the whole batch
  // Of that, all but exchanges.
  Seconds layer_forward_ = 0.0, layer_backward_ = 0.0;
  Seconds layer_weight_ = 0.0;  // of that, the weight gradients, which may run late
  Seconds layer_chunk_ = 0.0;   // the constant of a chunk, forward and backward
  Seconds embedding_ = 0.0;
  Seconds head_ = 0.0;
  // Seconds of one layer for the smallest chunk, of one token.
  Seconds least_forward_ = 0.0;
  Seconds least_gradient_ = 0.0;  // its backward without the weight gradient
  Seconds message_ = 0.0;         // between stages, of one token
  double total_tokens_ = 0.0;
  double chunk_forward_ = 0.0, chunk_backward_ = 0.0;
  // As Group has them, of a sequence that is cut: its K and V are kept in any case, and the whole
  // group shares it.
  double cut_saved_ = 0.0;
  Partly cut_part_;
  std::vector<Seconds> forced_[4];  // by end and layers; infinite where nothing fits
  std::vector<Seconds> before_;     // by stage: no earlier can it start
  std::vector<Seconds> after_;      // by stage: so long, at least, the step goes on after it
};

Bound::Bound(const Profile& profile, const Parallelism& parallelism, int layers,
             std::span<const Tokens> sequences, Bytes limit, bool forward_only, bool sub_groups)
    : profile_(profile_of_group(profile, layers, parallelism.sequence_parallel)),
      parallelism_(parallelism),
      layers_(layers),
      stages_(parallelism.stages),
      degree_(parallelism.sequence_parallel),
      sequences_(sequences),
      limit_(limit),
      forward_only_(forward_only) {
  if (sub_groups) {
    for (const int degree : sub_group_degrees(profile, parallelism.sequence_parallel)) {
      groups_.push_back(make_group(profile, degree));
    }
  }
  groups_.push_back(make_group(profile, parallelism.sequence_parallel));
  count_work();
}

Bound::Group Bound::make_group(const Profile& profile, int degree) const {
  Group group;
  group.profile = profile_of_group(profile, layers_, degree);
  group.degree = degree;
  group.all_to_all = group.exchange(profile.links.all_to_all_bytes_per_token / layers_);
  const MemoryCost& memory = group.profile.memory;
  group.saved = memory.activation_bytes_per_token / layers_ - memory.input_bytes_per_token;
  group.whole_part = cheapest_part(group, group.saved, false);
  return group;
}

void Bound::count_work() {
  const double L = layers_;
  const DirectionCost& f = profile_.forward;
  const DirectionCost& b = profile_.backward;
  double token2_sum = 0.0;
  for (const Tokens length : sequences_) {
    const auto n = static_cast<double>(length);
    total_tokens_ += n;
    token2_sum += attention_token2(0, length, profile_.sliding_window);
  }
  const auto count = static_cast<double>(sequences_.size());
  const auto compute = [&](const DirectionCost& cost, double token2, double tokens, double slices) {
    return (cost.seconds_per_token2 * token2 + cost.seconds_per_token * tokens +
            cost.seconds_per_slice * slices) /
           L;
  };
  // One token, in the group that takes least.
  const auto token = [&](const DirectionCost& cost) {
    Seconds least = kInfinity;
    for (const Group& group : groups_) {
      least = std::min(least, compute(cost, 1.0, 1.0, 1.0) / group.degree + group.all_to_all);
    }
    return least;
  };
  const double divided = profile_.seconds_per_chunk_divided ? degree_ : 1.0;
  chunk_forward_ = f.seconds_per_chunk / L / divided;
  chunk_backward_ = forward_only_ ? 0.0 : b.seconds_per_chunk / L / divided;
  layer_chunk_ = chunk_forward_ + chunk_backward_;
  layer_forward_ = compute(f, token2_sum, total_tokens_, count) / degree_;
  least_forward_ = token(f) + chunk_forward_;
  const PerTokenPair& embedding = profile_.embedding;
  const PerTokenPair& head = profile_.head;
  const bool head_backward = !forward_only_ || profile_.head_in_forward;
  embedding_ = (embedding.forward_seconds_per_token +
                (forward_only_ ? 0.0 : embedding.backward_seconds_per_token)) *
               total_tokens_ / degree_;
  head_ =
      (head.forward_seconds_per_token + (head_backward ? head.backward_seconds_per_token : 0.0)) *
      total_tokens_ / degree_;
  message_ = profile_.links.p2p_seconds +
             profile_.links.p2p_bytes_per_token / degree_ / profile_.links.p2p_bytes_per_second;
  if (forward_only_) return;
  layer_backward_ = compute(b, token2_sum, total_tokens_, count) / degree_;
  const double weight = profile_.weight_seconds_per_token();
  layer_weight_ = weight * total_tokens_ / L / degree_;
  cut_saved_ = whole().saved - profile_.memory.kv_bytes_per_token;
  cut_part_ = cheapest_part(whole(), cut_saved_, true);
  least_gradient_ = kInfinity;
  for (const Group& group : groups_) {
    least_gradient_ =
        std::min(least_gradient_, compute(b, 1.0, 1.0, 1.0) / group.degree + group.all_to_all +
                                      chunk_backward_ - weight / L / group.degree);
  }
}

Seconds Bound::passes_in(const Group& group, Tokens tokens) const {
  double fastest = 0.0;
  for (int p = 0; p < stages_; ++p) fastest = std::max(fastest, speed(p));
  const auto n = static_cast<double>(tokens);
  const double token2 = attention_token2(0, tokens, profile_.sliding_window);
  const auto layers = [&](const DirectionCost& cost, double per_token) {
    return (cost.seconds_per_token2 * token2 + per_token * n + cost.seconds_per_slice) /
               group.degree +
           group.all_to_all * n * layers_;
  };
  Seconds sum = layers(profile_.forward, profile_.forward.seconds_per_token);
  if (!forward_only_) {
    sum += layers(profile_.backward,
                  profile_.backward.seconds_per_token - profile_.weight_seconds_per_token());
  }
  return sum / fastest * kRoundingGuard;
}

Seconds Bound::exchange_work(Seconds step) const {
  if (groups_.size() == 1) return whole().all_to_all * total_tokens_;
  Seconds sum = 0.0;
  for (const Tokens length : sequences_) {
    Seconds least = whole().all_to_all;
    for (const Group& group : groups_) {
      const Seconds mean = group.all_to_all * group.degree / degree_;
      if (mean < least && passes_in(group, length) <= step) least = mean;
    }
    sum += least * static_cast<double>(length);
  }
  return sum;
}

Bytes Bound::available(int layers, End end) const {
  const MemoryCost& memory = profile_.memory;
  const double shards = state_shards(memory, parallelism_);
  const Bytes states = layers * memory.state_bytes_per_layer +
                       (end.first ? memory.state_embedding_bytes : 0.0) +
                       (end.last ? memory.state_head_bytes : 0.0);
  return limit_ * kLimitSlack - states / shards - memory.state_constant_bytes -
         memory.workspace_bytes;
}

// One level that is at least as good as every level that keeps something beside the input: it saves
// as many bytes as the one that saves most, and a byte costs as little as with the cheapest.
Bound::Partly Bound::cheapest_part(const Group& group, double full, bool cut) const {
  const Profile& profile = group.profile;
  Partly result;
  for (std::size_t i = 0; i < kRemadeLevels; ++i) {
    const KeepLevel& level = kKeepLevels[i];
    if (level.keep == Keep::kInput || !profile.remake[i]) continue;
    const RemakeCost& remake = *profile.remake[i];
    const double kv = cut && level.keeps_kv ? profile.memory.kv_bytes_per_token : 0.0;
    const double beside = remake.kept_bytes_per_token - kv;
    const Seconds seconds = remake.cost.seconds_per_token / layers_ / group.degree +
                            group.exchange(profile.exchanged_again(level.keep, layers_));
    const double saves = full - beside;
    if (saves <= 0.0) continue;
    if (result.saves <= 0.0) {
      result = {saves, beside, seconds};
      continue;
    }
    const double price = std::min(result.seconds / result.saves, seconds / saves);
    if (saves > result.saves) result = {saves, beside, seconds};
    result.seconds = price * result.saves;
  }
  return result;
}

// The least recomputation of one sequence on one stage, in seconds at speed 1 and on the mean of
// the sequence-parallel group's devices.
Seconds Bound::forced(Tokens tokens, int layers, End end) const {
  Seconds least = kInfinity;
  for (const Group& group : groups_) {
    least = std::min(least, group.degree / degree_ * forced_in(group, tokens, layers, end));
  }
  return least;
}

// On the devices of one group: the less of what it takes when the sequence stays whole in one
// chunk, and, in the whole group, when it is cut. Bytes are those of all the group's devices.
Seconds Bound::forced_in(const Group& group, Tokens tokens, int layers, End end) const {
  const MemoryCost& memory = group.profile.memory;
  const double L = layers_;
  const auto n = static_cast<double>(tokens);
  const Bytes budget = available(layers, end) * group.degree;
  const double layer = memory.activation_bytes_per_token / L;
  const double head = end.last ? memory.head_bytes_per_token : 0.0;
  const auto& whole_layer = group.profile.remake[index_of(Keep::kInput)];
  const DirectionCost& f = whole_layer ? whole_layer->cost : group.profile.forward;

  // One layer of x tokens without context, made again from its input, takes square t(x) + linear x;
  // t(x) is x^2, or less beyond the window.
  const double square = f.seconds_per_token2 / L / group.degree;
  const double linear = f.seconds_per_token / L / group.degree + group.all_to_all;

  // The least seconds that save so many bytes. There are two means. A layer that keeps its input
  // alone saves `full` bytes for each token, and x such tokens take a x^2 + b x seconds; beyond
  // `straight` tokens each takes as long as the last one before. A layer that keeps something
  // beside its input saves less, and takes at least what every token pays: it is `partly`.
  const auto cheapest = [&](Bytes bytes, double full, const Partly& partly, double a, double b,
                            double straight) -> Seconds {
    const double most = n * layers;  // tokens of layers
    if (bytes > most * full * (1.0 + 1e-12)) return kInfinity;
    const auto input_seconds = [&](double count) {
      if (count <= straight) return count * (a * count + b);
      const double last = a * (2.0 * straight - layers) + b;
      return straight * (a * straight + b) + (count - straight) * last;
    };
    const double all = bytes / full;
    const double part = partly.saves;
    if (part <= 0.0) return input_seconds(all);
    const double around = partly.seconds;
    const double beside = partly.beside;
    // `count` tokens keep their input alone and the rest of the bytes is saved by the other means.
    // The sum of seconds is convex in `count`; below `low` the other means could not save the rest.
    const double low = beside > 0.0 ? std::clamp((bytes - most * part) / beside, 0.0, all) : 0.0;
    const double worth = around * full / part - b;
    const double count = a > 0.0       ? std::clamp(worth / (2.0 * a), low, all)
                         : worth > 0.0 ? all
                                       : low;
    const auto seconds = [&](double inputs) {
      const double rest = std::max(0.0, (bytes - inputs * full) / part);
      return (input_seconds(inputs) + rest * around) *
             (1.0 - 1e-9);  // for the digits that `low` has lost
    };
    if (all <= straight) return seconds(count);
    // Beyond `straight` the sum is a line, so that it is least here or at an end of it.
    return std::min({seconds(std::clamp(count, low, std::max(low, straight))), seconds(all)});
  };

  // The sequence stays whole, in one chunk. Its backward holds the chunk's activations and those of
  // one recomputed layer. Where memory is counted layer by layer, the recomputed layer takes the
  // place of layers that are freed by then.
  const bool layerwise = memory.layerwise.has_value();
  const Bytes remake_bytes = layerwise ? 0.0 : n * layer;
  const Bytes kept = n * (layer * layers + head);
  Seconds whole = kept <= budget ? 0.0 : kInfinity;
  if (kept > budget && group.saved > 0.0) {
    const Bytes over = kept + remake_bytes - budget;
    const double recomputed = std::ceil(over / (n * group.saved) * (1.0 - 1e-12));
    if (recomputed <= layers) {
      const double per_token =
          square * (attention_token2(0, tokens, profile_.sliding_window) / n) + linear;
      whole = group.whole_part.saves > 0.0
                  ? cheapest(std::min(over, n * layers * group.saved), group.saved,
                             group.whole_part, 0.0, per_token, kInfinity)
                  : recomputed * n * per_token;
    }
  }
  if (group.degree < degree_) return whole;

  // The sequence is cut. When the backward of its last slice begins, the activations of all its
  // slices and all of dK and dV are held. Where memory is counted layer by layer, dK and dV come
  // later.
  const Bytes cut_kept = kept + (layerwise ? 0.0 : n * layers * memory.kv_grad_bytes_per_token);
  Seconds cut = cut_kept <= budget ? 0.0 : kInfinity;
  if (cut_kept > budget && cut_saved_ > 0.0) {
    // Tokens with the shortest context are the cheapest to make again. All layers recompute the
    // same.
    const double window = static_cast<double>(profile_.sliding_window);
    cut = cheapest(cut_kept - budget, cut_saved_, cut_part_, square / layers, linear,
                   window > 0.0 ? window * layers : kInfinity);
  }
  return std::min(whole, cut);
}

void Bound::note_forced_recomputation() {
  for (const bool first : {false, true}) {
    for (const bool last : {false, true}) {
      auto& table = forced_[(first ? 1 : 0) + (last ? 2 : 0)];
      table.assign(static_cast<std::size_t>(layers_) + 1, 0.0);
      if (limit_ <= 0.0 || forward_only_) continue;
      for (int l = 1; l <= layers_; ++l) {
        Seconds& sum = table[static_cast<std::size_t>(l)];
        for (const Tokens tokens : sequences_) sum += forced(tokens, l, {first, last});
      }
    }
  }
}

// The most tokens that a chunk can have on a stage of so many layers.
double Bound::chunk_capacity(int layers, End end) const {
  double per_token = kInfinity;
  for (const Group& group : groups_) {
    const MemoryCost& memory = group.profile.memory;
    const double layer = memory.activation_bytes_per_token / layers_;
    const double kept = layer * layers;
    const bool whole_layer = !forward_only_ && !memory.layerwise;
    const double recomputed = memory.input_bytes_per_token * layers + (whole_layer ? layer : 0.0);
    per_token = std::min(
        per_token, std::min(kept, recomputed) + (end.last ? memory.head_bytes_per_token : 0.0));
  }
  const Bytes budget = available(layers, end) * degree_;
  if (budget < 0.0) return 0.0;
  return per_token > 0.0 ? budget / per_token : kInfinity;
}

// Chunks, over all replicas, that the batch needs at least; infinite where no token fits.
double Bound::least_chunks(std::span<const LayerRange> split) const {
  if (limit_ <= 0.0) return 1.0;
  double capacity = kInfinity;
  if (split.empty()) {
    // Some stage has at least the average number of layers. That it is neither first nor last is
    // the best case.
    capacity = chunk_capacity((layers_ + stages_ - 1) / stages_, {});
  }
  for (int p = 0; p < static_cast<int>(split.size()); ++p) {
    const int layers = split[static_cast<std::size_t>(p)].count();
    capacity = std::min(capacity, chunk_capacity(layers, end_of(p)));
  }
  if (capacity < 1.0) return kInfinity;
  return std::max(1.0, std::ceil(total_tokens_ / capacity * (1.0 - 1e-12)));
}

void Bound::fill_and_drain(std::span<const LayerRange> split) {
  const auto passing = [&](int stage, Seconds layer, double ends) {
    const int layers = split.empty() ? 1 : split[static_cast<std::size_t>(stage)].count();
    return (layers * layer + ends / degree_) / speed(stage) + message_;
  };
  const auto count = static_cast<std::size_t>(stages_);
  before_.assign(count, 0.0);
  after_.assign(count, 0.0);
  for (std::size_t p = 1; p < count; ++p) {
    const int q = static_cast<int>(p) - 1;
    const double first = q == 0 ? 1.0 : 0.0;
    before_[p] = before_[p - 1] +
                 passing(q, least_forward_, first * profile_.embedding.forward_seconds_per_token);
    if (!forward_only_) {
      after_[p] = after_[p - 1] + passing(q, least_gradient_,
                                          first * profile_.embedding.backward_seconds_per_token);
    }
  }
  if (!forward_only_) return;
  for (std::size_t p = count - 1; p-- > 0;) {
    after_[p] = after_[p + 1] + passing(static_cast<int>(p) + 1, least_forward_, 0.0);
  }
}

// The least time of a step whose stage `stage` has so many layers.
Seconds Bound::stage_seconds(int stage, int layers, double chunks) const {
  const double share = speed(stage) * parallelism_.data_parallel;
  const Seconds busy =
      (layers * (layer_work_ + chunks * layer_chunk_) + extra(stage) + forced_at(stage, layers)) /
      share;
  const auto p = static_cast<std::size_t>(stage);
  // While the last gradient goes up to the first stage, weight gradients may still run here.
  return before_[p] + std::max(busy, busy - layers * layer_weight_ / share + after_[p]);
}

Seconds Bound::work(std::span<const LayerRange> split, double chunks) const {
  if (!split.empty()) {
    Seconds most = 0.0;
    for (int p = 0; p < stages_; ++p) {
      most = std::max(most, stage_seconds(p, split[static_cast<std::size_t>(p)].count(), chunks));
    }
    return most;
  }
  // Over every split: the least T for which the layers that the stages can do within T are enough.
  // T is one of the stages' times. These grow with a stage's layers, so that T is found by halving.
  using Layers = std::vector<int>;  // of each stage
  const auto count = static_cast<std::size_t>(stages_);
  const Layers all(count, layers_ - stages_ + 1);
  // The most layers within the time, where they are known to be from `low` to `high`.
  const auto within = [&](Seconds time, Layers low, const Layers& high) {
    for (std::size_t p = 0; p < count; ++p) {
      int beyond = high[p] + 1;
      while (beyond - low[p] > 1) {
        const int middle = low[p] + (beyond - low[p]) / 2;
        const bool is_within = stage_seconds(static_cast<int>(p), middle, chunks) <= time;
        (is_within ? low[p] : beyond) = middle;
      }
    }
    return low;
  };
  const auto enough = [&](const Layers& layers) {
    return std::accumulate(layers.begin(), layers.end(), std::int64_t{0}) >= layers_;
  };
  Seconds below = 0.0;  // as a stage holds at least a layer
  for (int p = 0; p < stages_; ++p) below = std::max(below, stage_seconds(p, 1, chunks));
  if (below == kInfinity) return kInfinity;
  Layers low = within(below, Layers(count, 1), all);
  if (enough(low)) return below;
  Seconds above = below;
  Layers high = low;
  while (!enough(high)) {
    constexpr Seconds kLittle = 1e-9;
    below = above;
    low = high;
    above = std::max(2.0 * above, kLittle);
    if (above == kInfinity) return kInfinity;
    high = within(above, low, all);
  }
  const auto undecided = [&] {
    for (std::size_t p = 0; p < count; ++p) {
      if (high[p] - low[p] > 1) return true;
    }
    return false;
  };
  while (undecided()) {
    const Seconds middle = below + 0.5 * (above - below);
    if (middle <= below || middle >= above) break;
    Layers layers = within(middle, low, high);
    const bool holds = enough(layers);
    (holds ? above : below) = middle;
    (holds ? high : low) = std::move(layers);
  }
  // Between the two lie the times of stages with one layer more.
  std::vector<Seconds> next;
  for (std::size_t p = 0; p < count; ++p) {
    if (high[p] > low[p]) next.push_back(stage_seconds(static_cast<int>(p), low[p] + 1, chunks));
  }
  std::sort(next.begin(), next.end());
  return *std::partition_point(next.begin(), next.end(),
                               [&](Seconds time) { return !enough(within(time, low, high)); });
}

// The way of the average chunk through all stages and back. Some chunk is at least as large.
Seconds Bound::chain(std::span<const LayerRange> split, double chunks) const {
  const Seconds layer = (layer_work_ - layer_weight_) / chunks + layer_chunk_;
  Seconds sum = (forward_only_ ? 1.0 : 2.0) * (stages_ - 1) * message_;
  double fastest = 0.0;
  for (int p = 0; p < stages_; ++p) {
    fastest = std::max(fastest, speed(p));
    sum += extra(p) / chunks / speed(p);
    if (!split.empty()) sum += layer * split[static_cast<std::size_t>(p)].count() / speed(p);
  }
  return split.empty() ? sum + layer * layers_ / fastest : sum;
}

Seconds Bound::forced_recomputation(std::span<const LayerRange> split) const {
  Seconds sum = 0.0;
  for (int p = 0; p < static_cast<int>(split.size()); ++p) {
    sum += forced_at(p, split[static_cast<std::size_t>(p)].count()) / speed(p);
  }
  return sum;
}

LowerBound Bound::find(std::span<const LayerRange> split) {
  LowerBound result;
  if (sequences_.empty()) return result;
  note_forced_recomputation();
  fill_and_drain(split);
  double chunks = least_chunks(split);
  if (chunks == kInfinity || work(split, chunks) == kInfinity) {
    result.fits = false;
    limit_ = 0.0;
    note_forced_recomputation();
    chunks = 1.0;
  }
  // Where sub-groups may run sequences, exchanges depend on how long the step takes: the less it
  // does, the larger the group that a long sequence needs. Between the times from which on some
  // sequence may run in some group the bound is constant. The step takes at least the first time
  // that is not below the bound that holds for it.
  std::vector<Seconds> times = {0.0};
  for (const Tokens length : sequences_) {
    for (std::size_t i = 0; i + 1 < groups_.size(); ++i) {
      times.push_back(passes_in(groups_[i], length));
    }
  }
  std::sort(times.begin(), times.end());
  times.erase(std::unique(times.begin(), times.end()), times.end());
  const auto at = [&](Seconds step) {
    const Seconds exchange = exchange_work(step);
    layer_work_ = layer_forward_ + exchange;
    if (!forward_only_) layer_work_ += layer_backward_ + exchange;
    LowerBound bound = least(split, chunks);
    bound.seconds = std::max(bound.seconds, step);
    return bound;
  };
  const auto last = std::partition_point(times.begin(), times.end() - 1, [&](const Seconds& time) {
    return at(time).seconds >= *(&time + 1);
  });
  const bool fits = result.fits;
  result = at(*last);
  result.fits = fits;
  result.recompute = forced_recomputation(split);
  result.seconds *= kRoundingGuard;
  return result;
}

// The bound for the exchanges that are counted now, and at least so many chunks.
LowerBound Bound::least(std::span<const LayerRange> split, double chunks) {
  LowerBound result;
  // With more chunks the work grows and the chain becomes shorter, so their maximum is least where
  // they cross. Bisection finds the first count at which the chain is no longer than the work.
  const double most_chunks = std::max(chunks, total_tokens_);
  double low = chunks;
  double high = most_chunks;
  while (low < high) {
    const double middle = std::floor((low + high) / 2.0);
    if (chain(split, middle) <= work(split, middle)) {
      high = middle;
    } else {
      low = middle + 1.0;
    }
  }
  result.seconds = kInfinity;
  for (const double count : {std::max(chunks, low - 1.0), low}) {
    const Seconds now_work = work(split, count);
    const Seconds now_chain = chain(split, count);
    if (const Seconds now = std::max(now_work, now_chain); now < result.seconds) {
      result.seconds = now;
      result.work = now_work;
      result.chain = now_chain;
      result.chunks = static_cast<int>(std::min(count, 1e9));
    }
  }
  return result;
}

LowerBound bound_of(const Profile& profile, const Parallelism& parallelism, int layers,
                    std::span<const LayerRange> split, std::span<const Tokens> sequences,
                    Bytes limit, bool forward_only, bool sub_groups) {
  LowerBound all =
      Bound(profile, parallelism, layers, sequences, limit, forward_only, sub_groups).find(split);
  if (sequences.size() < 2) return all;
  // The longest sequence runs in one replica. The bound of that sequence alone holds for the batch.
  const Tokens longest = *std::max_element(sequences.begin(), sequences.end());
  const Parallelism alone{parallelism.stages, parallelism.sequence_parallel, 1};
  Profile one = profile;
  // States stay shared out over all replicas.
  const double shards = state_shards(one.memory, parallelism) / state_shards(one.memory, alone);
  one.memory.state_bytes_per_layer /= shards;
  one.memory.state_embedding_bytes /= shards;
  one.memory.state_head_bytes /= shards;
  const LowerBound single =
      Bound(one, alone, layers, std::span(&longest, 1), limit, forward_only, sub_groups)
          .find(split);
  if (single.seconds > all.seconds) {
    all.seconds = single.seconds;
    all.chain = std::max(all.chain, single.seconds);
  }
  return all;
}

}  // namespace

LowerBound lower_bound(const Profile& profile, const Parallelism& parallelism, int layers,
                       std::span<const Tokens> sequences, Bytes limit, bool forward_only,
                       bool sub_groups) {
  INFINIPIPE_ASSERT(parallelism.stages >= 1 && layers >= parallelism.stages,
                    "a stage needs a layer");
  // Checks the profile against the parallelism as every cost model does.
  std::vector<LayerRange> any;
  for (int p = 0; p < parallelism.stages; ++p) {
    any.push_back({p, p + 1 == parallelism.stages ? layers : p + 1});
  }
  const CostModel checked(profile, parallelism, any);
  return bound_of(checked.profile(), parallelism, layers, {}, sequences, limit, forward_only,
                  sub_groups);
}

LowerBound lower_bound(const CostModel& cost, std::span<const Tokens> sequences, Bytes limit,
                       bool forward_only, bool sub_groups) {
  return bound_of(cost.profile(), cost.parallelism(), cost.total_layers(), cost.stages(), sequences,
                  limit, forward_only, sub_groups);
}

}  // namespace infinipipe
