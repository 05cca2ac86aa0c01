#include "cost/step_overhead.h"

#include <algorithm>
#include <map>

#include "core/head_shares.h"
#include "core/names.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

double bandwidth(const std::map<int, double>& bandwidths, const char* name, int degree) {
  if (const auto found = bandwidths.find(degree); found != bandwidths.end()) return found->second;
  throw InputError(
      std::string("profile: links.") + name, "no bandwidth for degree " + std::to_string(degree),
      "expected its bytes per second", "measure it, or choose other degrees of parallelism");
}

// `bytes` gathered by (or reduced to shares of) each of `devices`, `beside` of which share a node:
// inside it every device over its own link, across nodes each of them a part of the bytes, at the
// rate for `span` devices. The slower of the two counts.
Seconds collective(const std::map<int, double>& bandwidths, const char* name, Bytes bytes,
                   int devices, int beside, int span) {
  Seconds inside = 0.0;
  if (beside > 1) inside = bytes * (beside - 1) / beside / bandwidth(bandwidths, name, beside);
  if (beside == devices) return inside;
  const double nodes = static_cast<double>(devices) / beside;
  const Seconds across = bytes / beside * (nodes - 1.0) / nodes / bandwidth(bandwidths, name, span);
  return std::max(inside, across);
}

// Devices that share a stage's states, and how many such groups there are.
struct Sharing {
  int group = 1;
  int replicas = 1;

  Sharing(const Profile& profile, const Parallelism& parallelism)
      : group(parallelism.sequence_parallel), replicas(parallelism.data_parallel) {
    switch (profile.memory.state_sharding) {
      case StateSharding::kSequenceParallel:
        return;
      case StateSharding::kAll:
        group *= replicas * parallelism.stages;
        replicas = 1;
        return;
      case StateSharding::kOptimizer:  // weights are whole: gathered and summed once a step
        replicas *= group;
        group = 1;
    }
  }
  // Of a stage's replicas, how many share a node.
  int beside(int devices_per_node) const {
    return std::clamp(devices_per_node / group, 1, replicas);
  }
};

// Bytes of weights in bytes of states; gradients are as many.
double weight_share(const Profile& profile) {
  const DtypeRow* dtype = find_named(kDtypes, profile.dtype);
  return dtype ? dtype->weight_share : row_of(Dtype::kFloat32).weight_share;
}

bool has_gathers(const Profile& profile) {
  return !profile.links.all_gather.empty() || !profile.links.reduce_scatter.empty();
}

class Overhead final {
 public:
  Overhead(const Plan& plan, const CostModel& cost, int devices_per_node)
      : plan_(plan),
        cost_(cost),
        links_(cost.profile().links),
        sharing_(cost.profile(), cost.parallelism()),
        per_node_(devices_per_node),
        cut_(plan.cut_sequences()) {}

  StepOverhead run() const {
    StepOverhead result;
    const bool gathering = has_gathers(cost_.profile());
    for (int p = 0; p < cost_.stage_count(); ++p) {
      const StageId stage(p);
      for (const Replica& replica : plan_.replicas) {
        result.heads = std::max(result.heads, heads(stage, replica));
      }
      if (!gathering) continue;
      result.reduction = std::max(result.reduction, reduction(stage));
      if (sharing_.group == 1) continue;
      for (const Replica& replica : plan_.replicas) {
        result.gathers = std::max(result.gathers, gathers(stage, replica));
      }
    }
    return result;
  }

 private:
  // Weights of a stage, whole; its gradients are as many bytes.
  Bytes weight_bytes(StageId stage) const {
    const MemoryCost& memory = cost_.profile().memory;
    const Bytes states = cost_.layers(stage) * memory.state_bytes_per_layer +
                         (stage.value() == 0 ? memory.state_embedding_bytes : 0.0) +
                         (stage.value() + 1 == cost_.stage_count() ? memory.state_head_bytes : 0.0);
    return states * weight_share(cost_.profile());
  }

  // By how much longer attention takes with these devices' shares of heads.
  double longer(int degree) const {
    const int devices = degree == 0 ? cost_.parallelism().sequence_parallel : degree;
    const auto [known, absent] = longer_.try_emplace(devices, 0.0);
    if (absent) known->second = head_imbalance(cost_.profile().heads, devices) - 1.0;
    return known->second;
  }

  // What uneven heads add to a stage's attention, recomputed one included: to what grows with
  // token2 and contexts.
  Seconds heads(StageId stage, const Replica& replica) const {
    std::map<int, Seconds> attention;  // by the degree of its chunks
    for (const Instruction& i : replica.instructions.at(stage.index())) {
      const Chunk& chunk = replica.chunk(i);
      if (longer(chunk.degree) <= 0.0) continue;
      const ChunkShape shape = cost_.shape(chunk, plan_.sequences, cut_);
      ChunkShape without = shape;
      without.token2 = 0.0;
      without.context = 0;
      for (ChunkShape& part : without.parts) part.token2 = 0.0;
      Seconds& sum = attention[chunk.degree];
      sum += cost_.seconds(i.op, stage, shape) - cost_.seconds(i.op, stage, without);
      if (!starts_backward(i.op)) continue;
      const Keeping& keeping = chunk.kept_on(stage);
      sum += cost_.recompute(stage, shape, keeping) - cost_.recompute(stage, without, keeping);
    }
    Seconds all = 0.0;
    for (const auto& [degree, seconds] : attention) all += longer(degree) * seconds;
    return all;
  }

  Seconds gathers(StageId stage, const Replica& replica) const {
    const int group = sharing_.group;
    const int beside = std::min(group, per_node_);
    const Bytes bytes = weight_bytes(stage);
    const Seconds gather = collective(links_.all_gather, "all_gather", bytes, group, beside, group);
    const Seconds reduce =
        collective(links_.reduce_scatter, "reduce_scatter", bytes, group, beside, group);
    Seconds sum = 0.0;
    for (const Instruction& i : replica.instructions.at(stage.index())) {
      const Chunk& chunk = replica.chunk(i);
      const ChunkShape shape = cost_.shape(chunk, plan_.sequences, cut_);
      const Seconds recompute = cost_.recompute(stage, shape, chunk.kept_on(stage));
      switch (i.op) {
        case Op::kForward:
          sum += std::max(0.0, gather - cost_.forward(stage, shape));
          break;
        case Op::kBackward:
          sum += std::max(0.0, gather + reduce - cost_.backward(stage, shape) - recompute);
          break;
        case Op::kInputGrad:
          sum += std::max(0.0, gather - cost_.input_grad(stage, shape) - recompute);
          break;
        case Op::kWeightGrad:
          sum += std::max(0.0, reduce - cost_.weight_grad(stage, shape));
          break;
      }
    }
    return sum;
  }

  Seconds reduction(StageId stage) const {
    const int replicas = sharing_.replicas;
    if (replicas == 1) return 0.0;
    const Bytes bytes = weight_bytes(stage) / sharing_.group;
    const int beside = sharing_.beside(per_node_);
    const int span = sharing_.group * replicas;
    return collective(links_.reduce_scatter, "reduce_scatter", bytes, replicas, beside, span) +
           collective(links_.all_gather, "all_gather", bytes, replicas, beside, span);
  }

  const Plan& plan_;
  const CostModel& cost_;
  const LinkCost& links_;
  Sharing sharing_;
  int per_node_;
  const std::vector<bool> cut_;           // by sequence
  mutable std::map<int, double> longer_;  // longer(), by devices
};

}  // namespace

StepOverhead step_overhead(const Plan& plan, const CostModel& cost, int devices_per_node) {
  INFINIPIPE_ASSERT(devices_per_node >= 1, "a node without devices");
  return Overhead(plan, cost, devices_per_node).run();
}

std::string absent_bandwidth(const Profile& profile, const Parallelism& parallelism,
                             int devices_per_node) {
  INFINIPIPE_ASSERT(devices_per_node >= 1, "a node without devices");
  if (!has_gathers(profile)) return {};
  const auto absent = [&](int degree) -> std::string {
    for (const auto& [name, bandwidths] :
         {std::pair{"all_gather", &profile.links.all_gather},
          std::pair{"reduce_scatter", &profile.links.reduce_scatter}}) {
      if (bandwidths->contains(degree)) continue;
      return std::string("profile: links.") + name + ": no bandwidth for degree " +
             std::to_string(degree);
    }
    return {};
  };
  const auto collective = [&](int devices, int beside, int span) -> std::string {
    std::string text = beside > 1 ? absent(beside) : std::string();
    return text.empty() && beside != devices ? absent(span) : text;
  };
  const Sharing sharing(profile, parallelism);
  std::string text =
      collective(sharing.group, std::min(sharing.group, devices_per_node), sharing.group);
  if (!text.empty()) return text;
  return collective(sharing.replicas, sharing.beside(devices_per_node),
                    sharing.group * sharing.replicas);
}

Profile with_waited_gathers(Profile profile, const Parallelism& parallelism, int layers,
                            int devices_per_node) {
  INFINIPIPE_ASSERT(devices_per_node >= 1, "a node without devices");
  const int group = Sharing(profile, parallelism).group;
  if (group == 1 || !has_gathers(profile)) return profile;
  const MemoryCost& memory = profile.memory;
  const Bytes bytes = (layers * memory.state_bytes_per_layer + memory.state_embedding_bytes +
                       memory.state_head_bytes) *
                      weight_share(profile);
  const int beside = std::min(group, devices_per_node);
  const Seconds gather =
      collective(profile.links.all_gather, "all_gather", bytes, group, beside, group);
  const Seconds reduce =
      collective(profile.links.reduce_scatter, "reduce_scatter", bytes, group, beside, group);
  // The constants are then divided by the sequence-parallel degree.
  const double whole = profile.seconds_per_chunk_divided ? parallelism.sequence_parallel : 1.0;
  profile.forward.seconds_per_chunk += whole * gather;
  profile.backward.seconds_per_chunk += whole * (gather + reduce);
  for (auto& remake : profile.remake) {
    if (remake) remake->cost.seconds_per_chunk += whole * gather;
  }
  return profile;
}

}  // namespace infinipipe
