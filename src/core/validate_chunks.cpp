#include <algorithm>
#include <vector>

#include "core/limits.h"
#include "core/validate_steps.h"

namespace infinipipe::validation {
namespace {

std::string text(std::int64_t value) { return std::to_string(value); }
std::string text(std::size_t value) { return std::to_string(value); }

// Where a slice stands in the plan.
struct Place {
  std::size_t replica = 0;
  std::size_t pipeline = 0;
  std::size_t chunk = 0;
  Slice slice;

  std::string str() const {
    return "replica " + text(replica) + ", pipeline " + text(pipeline) + ", chunk " + text(chunk);
  }
};

// Calls visit(place of the chunk, chunk) until it returns a problem.
template <class Visit>
Problem each_chunk(const Plan& plan, const Visit& visit) {
  for (std::size_t r = 0; r < plan.replicas.size(); ++r) {
    const auto& pipelines = plan.replicas[r].pipelines;
    for (std::size_t q = 0; q < pipelines.size(); ++q) {
      for (std::size_t c = 0; c < pipelines[q].chunks.size(); ++c) {
        if (auto found = visit(Place{r, q, c, {}}, pipelines[q].chunks[c])) return found;
      }
    }
  }
  return {};
}

Problem check_shape(const Plan& plan) {
  const std::size_t stages = plan.stages.size();
  const auto shape = [](const std::string& where, const std::string& found,
                        const std::string& expected) {
    return problem(PlanFault::kShape, where, found, expected);
  };
  const Parallelism& parallelism = plan.parallelism;
  if (stages == 0) return shape("stages", "none", "at least one");
  if (parallelism.stages < 0 || static_cast<std::size_t>(parallelism.stages) != stages) {
    return shape("stages", text(stages) + " stages",
                 "parallelism.stages = " + text(std::int64_t{parallelism.stages}));
  }
  if (parallelism.stages > kMostStages) {
    return shape("parallelism.stages", text(std::int64_t{parallelism.stages}),
                 "at most " + text(std::int64_t{kMostStages}));
  }
  if (parallelism.sequence_parallel < 1 || parallelism.sequence_parallel > kMostSequenceParallel) {
    return shape("parallelism.sequence_parallel", text(std::int64_t{parallelism.sequence_parallel}),
                 "1 to " + text(std::int64_t{kMostSequenceParallel}));
  }
  if (parallelism.data_parallel > kMostReplicas) {
    return shape("parallelism.data_parallel", text(std::int64_t{parallelism.data_parallel}),
                 "at most " + text(std::int64_t{kMostReplicas}));
  }
  if (parallelism.data_parallel < 1 ||
      static_cast<std::size_t>(parallelism.data_parallel) != plan.replicas.size()) {
    return shape("replicas", text(plan.replicas.size()) + " replicas",
                 "parallelism.data_parallel = " + text(std::int64_t{parallelism.data_parallel}));
  }
  for (std::size_t r = 0; r < plan.replicas.size(); ++r) {
    const std::size_t lists = plan.replicas[r].instructions.size();
    if (lists == stages) continue;
    return shape("replica " + text(r), text(lists) + " instruction lists",
                 "one per stage (" + text(stages) + ")");
  }
  return each_chunk(plan, [&](const Place& at, const Chunk& chunk) -> Problem {
    if (chunk.slices.empty()) return shape(at.str(), "no slices", "at least one");
    const std::string expected = "one per stage (" + text(stages) + ")";
    if (chunk.keeping.size() == stages) return {};
    return shape(at.str(), text(chunk.keeping.size()) + " recompute counts", expected);
  });
}

Problem check_layers(const Plan& plan) {
  int next = 0;
  for (std::size_t p = 0; p < plan.stages.size(); ++p) {
    const LayerRange& range = plan.stages[p];
    const std::string found =
        "layers [" + text(std::int64_t{range.begin}) + ", " + text(std::int64_t{range.end}) + ")";
    if (range.begin != next) {
      return problem(PlanFault::kLayers, "stage " + text(p), found,
                     "to begin at layer " + text(std::int64_t{next}));
    }
    if (range.end <= range.begin) {
      return problem(PlanFault::kLayers, "stage " + text(p), found, "at least one layer");
    }
    next = range.end;
  }
  return {};
}

Problem check_slices(const Plan& plan) {
  return each_chunk(plan, [&](const Place& at, const Chunk& chunk) -> Problem {
    for (const Slice& slice : chunk.slices) {
      const std::string name = "sequence " + text(std::int64_t{slice.sequence.value()});
      if (slice.sequence.index() >= plan.sequences.size()) {
        return problem(PlanFault::kSlice, at.str(), "a slice of " + name,
                       "one of the batch's " + text(plan.sequences.size()) + " sequences");
      }
      const Tokens length = plan.sequences[slice.sequence.index()];
      if (slice.begin >= 0 && slice.begin < slice.end && slice.end <= length) continue;
      return problem(PlanFault::kSlice, at.str(),
                     "tokens [" + text(slice.begin) + ", " + text(slice.end) + ") of " + name,
                     "a part of [0, " + text(length) + ") that is not empty");
    }
    for (std::size_t p = 0; p < chunk.keeping.size(); ++p) {
      const int layers = plan.stages[p].count();
      const Keeping& keeping = chunk.kept_on(StageId(p));
      const int remade = keeping.remade();
      if (remade < 0 || remade > layers) {
        return problem(PlanFault::kRecompute, at.str(),
                       "stage " + text(p) + " recomputes " + text(std::int64_t{remade}) + " layers",
                       "0 to " + text(std::int64_t{layers}));
      }
      // The level without a field of its own has what the others leave: below 0, they are too many.
      std::string fields;
      for (const KeepLevel& level : kKeepLevels) {
        if (level.plan_field == nullptr || keeping[level.keep] == 0) continue;
        fields += (fields.empty() ? "" : " + ") + std::string(level.plan_field) + " " +
                  text(std::int64_t{keeping[level.keep]});
      }
      const bool negative = std::any_of(keeping.layers.begin(), keeping.layers.end(),
                                        [](int count) { return count < 0; });
      if (!negative) continue;
      return problem(PlanFault::kRecompute, at.str(),
                     "stage " + text(p) + " has " + fields + " of " + text(std::int64_t{remade}) +
                         " recomputed layers",
                     "0 to " + text(std::int64_t{remade}));
    }
    return {};
  });
}

// Slices of every sequence by where they begin; places equal in that stay in plan order.
using PlacesBySequence = std::vector<std::vector<Place>>;

PlacesBySequence places_by_sequence(const Plan& plan) {
  PlacesBySequence places(plan.sequences.size());
  each_chunk(plan, [&](const Place& at, const Chunk& chunk) -> Problem {
    for (const Slice& slice : chunk.slices) {
      places[slice.sequence.index()].push_back({at.replica, at.pipeline, at.chunk, slice});
    }
    return {};
  });
  for (auto& list : places) {
    std::stable_sort(list.begin(), list.end(),
                     [](const Place& a, const Place& b) { return a.slice.begin < b.slice.begin; });
  }
  return places;
}

Problem check_coverage(const Plan& plan, const PlacesBySequence& places) {
  for (std::size_t i = 0; i < places.size(); ++i) {
    const std::string name = "sequence " + text(i);
    const auto range = [](Tokens begin, Tokens end) {
      return "tokens [" + text(begin) + ", " + text(end) + ")";
    };
    Tokens next = 0;
    const Place* before = nullptr;
    for (const Place& at : places[i]) {
      if (at.slice.begin > next) {
        return problem(PlanFault::kCoverage, name, range(next, at.slice.begin) + " in no slice",
                       "every token in one slice");
      }
      if (at.slice.begin < next) {
        return problem(PlanFault::kCoverage, name,
                       range(at.slice.begin, std::min(next, at.slice.end)) + " in two slices (" +
                           before->str() + " and " + at.str() + ")",
                       "every token in one slice");
      }
      next = at.slice.end;
      before = &at;
    }
    if (next < plan.sequences[i]) {
      return problem(PlanFault::kCoverage, name, range(next, plan.sequences[i]) + " in no slice",
                     "every token in one slice");
    }
  }
  return {};
}

Problem check_together(const PlacesBySequence& places) {
  for (std::size_t i = 0; i < places.size(); ++i) {
    for (const Place& at : places[i]) {
      const Place& first = places[i].front();
      if (at.replica == first.replica && at.pipeline == first.pipeline) continue;
      return problem(PlanFault::kSequenceScattered, "sequence " + text(i),
                     "slices in " + first.str() + " and in " + at.str(),
                     "all slices of a sequence in one pipeline");
    }
  }
  return {};
}

Problem check_kinds(const Plan& plan, const PlacesBySequence& places) {
  return each_chunk(plan, [&](const Place& at, const Chunk& chunk) -> Problem {
    const auto kind = [&](const std::string& found, const std::string& expected) {
      return problem(PlanFault::kKind, at.str(), found, expected);
    };
    const auto is_cut = [&](const Slice& slice) {
      return places[slice.sequence.index()].size() > 1;
    };
    const auto sequence_name = [](const Slice& slice) {
      return "sequence " + text(std::int64_t{slice.sequence.value()});
    };
    std::size_t whole_from = 0;  // slices from here on must be whole sequences
    if (chunk.kind != ChunkKind::kBatched) {
      const Slice& slice = chunk.slices[0];
      const std::string name = chunk.kind == ChunkKind::kSplit ? "split" : "hybrid";
      whole_from = 1;
      if (!is_cut(slice)) {
        return kind(name + " with the whole of " + sequence_name(slice),
                    "a slice of a cut sequence first");
      }
      if (chunk.kind == ChunkKind::kSplit && chunk.slices.size() > 1) {
        return kind("split with " + text(chunk.slices.size()) + " slices", "one");
      }
      if (chunk.kind == ChunkKind::kHybrid && chunk.slices.size() == 1) {
        return kind("hybrid with one slice", "whole sequences after it, or kind split");
      }
      if (chunk.kind == ChunkKind::kHybrid && slice.end != plan.sequences[slice.sequence.index()]) {
        return kind("hybrid with a middle slice of " + sequence_name(slice), "its last slice");
      }
    }
    for (std::size_t s = whole_from; s < chunk.slices.size(); ++s) {
      if (!is_cut(chunk.slices[s])) continue;
      return kind((chunk.kind == ChunkKind::kBatched ? "batched" : "hybrid") +
                      std::string(" with a part of ") + sequence_name(chunk.slices[s]),
                  "whole sequences");
    }
    return {};
  });
}

// Sub-groups, of batched chunks alone: that their sequences are whole is check_kinds()'s.
Problem check_degrees(const Plan& plan) {
  return each_chunk(plan, [&](const Place& at, const Chunk& chunk) -> Problem {
    const std::int64_t ranks = plan.parallelism.sequence_parallel;
    const std::int64_t degree = chunk.degree;
    const auto fault = [&](const std::string& found, const std::string& expected) {
      return problem(PlanFault::kDegree, at.str(), found, expected);
    };
    if (degree == 0) {
      if (chunk.groups.empty()) return {};
      return fault(text(chunk.groups.size()) + " sub-groups without a degree",
                   "a degree with them, or none of both");
    }
    const std::string found = "degree " + text(degree);
    if (degree == ranks) return fault(found, "none: it is the whole group's");
    if (degree < 0 || degree > ranks || ranks % degree != 0) {
      return fault(found, "a divisor of the group's " + text(ranks) + " ranks");
    }
    if (chunk.kind != ChunkKind::kBatched) {
      return fault(found + " of a " + to_string(chunk.kind) + " chunk",
                   "the whole group, as it has a slice of a cut sequence");
    }
    if (static_cast<std::int64_t>(chunk.groups.size()) != ranks / degree) {
      return fault(text(chunk.groups.size()) + " sub-groups of " + found,
                   text(ranks / degree) + " of the group's " + text(ranks) + " ranks");
    }
    std::int64_t slices = 0;
    for (const int count : chunk.groups) {
      if (count < 0) {
        return fault("a sub-group of " + text(std::int64_t{count}) + " slices", "at least 0");
      }
      slices += count;
    }
    if (slices == static_cast<std::int64_t>(chunk.slices.size())) return {};
    return fault("sub-groups of " + text(slices) + " slices in all",
                 "the chunk's " + text(chunk.slices.size()));
  });
}

// Slices of a sequence stand in chunks one after the other.
Problem check_slice_order(const PlacesBySequence& places) {
  for (std::size_t i = 0; i < places.size(); ++i) {
    for (std::size_t s = 1; s < places[i].size(); ++s) {
      const Place& early = places[i][s - 1];
      const Place& late = places[i][s];
      if (early.chunk < late.chunk) continue;
      return problem(PlanFault::kForwardOrder, late.str(),
                     "tokens from " + text(late.slice.begin) + " of sequence " + text(i) +
                         " before its tokens from " + text(early.slice.begin) + " in chunk " +
                         text(early.chunk),
                     "slices in the order of their tokens");
    }
  }
  return {};
}

// `backward` is a permutation in which a sequence's later slice comes first.
Problem check_backward(const Plan& plan, const PlacesBySequence& places) {
  const bool evaluation = plan.forward_only();
  // Position of every chunk in `backward`, by replica and pipeline.
  std::vector<std::vector<std::vector<std::size_t>>> position(plan.replicas.size());
  for (std::size_t r = 0; r < plan.replicas.size(); ++r) {
    for (std::size_t q = 0; q < plan.replicas[r].pipelines.size(); ++q) {
      const Pipeline& pipeline = plan.replicas[r].pipelines[q];
      const std::size_t chunks = pipeline.chunks.size();
      const std::string where = "replica " + text(r) + ", pipeline " + text(q) + ", backward";
      auto& order = position[r].emplace_back();
      if (evaluation && pipeline.backward.empty()) continue;
      if (pipeline.backward.size() != chunks) {
        return problem(PlanFault::kBackwardOrder, where, text(pipeline.backward.size()) + " chunks",
                       "each of the " + text(chunks) + " chunks once");
      }
      order.assign(chunks, chunks);
      for (std::size_t i = 0; i < chunks; ++i) {
        const int chunk = pipeline.backward[i];
        if (chunk < 0 || static_cast<std::size_t>(chunk) >= chunks ||
            order[static_cast<std::size_t>(chunk)] != chunks) {
          return problem(PlanFault::kBackwardOrder, where,
                         "chunk " + text(std::int64_t{chunk}) + " at position " + text(i),
                         "each of the " + text(chunks) + " chunks once");
        }
        order[static_cast<std::size_t>(chunk)] = i;
      }
    }
  }
  for (std::size_t i = 0; i < places.size(); ++i) {
    for (std::size_t s = 1; s < places[i].size(); ++s) {
      const Place& early = places[i][s - 1];
      const Place& late = places[i][s];
      const auto& order = position[early.replica][early.pipeline];
      if (order.empty() || order[late.chunk] < order[early.chunk]) continue;
      return problem(
          PlanFault::kBackwardOrder,
          "replica " + text(early.replica) + ", pipeline " + text(early.pipeline) + ", backward",
          "chunk " + text(early.chunk) + " before chunk " + text(late.chunk),
          "the later slice of sequence " + text(i) + " first");
    }
  }
  return {};
}

}  // namespace

Problem check_chunks(const Plan& plan) {
  if (auto found = check_shape(plan)) return found;
  if (auto found = check_layers(plan)) return found;
  if (auto found = check_slices(plan)) return found;
  const PlacesBySequence places = places_by_sequence(plan);
  if (auto found = check_coverage(plan, places)) return found;
  if (auto found = check_together(places)) return found;
  if (auto found = check_kinds(plan, places)) return found;
  if (auto found = check_degrees(plan)) return found;
  if (auto found = check_slice_order(places)) return found;
  return check_backward(plan, places);
}

}  // namespace infinipipe::validation
