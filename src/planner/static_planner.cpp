#include "planner/static_planner.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

Tokens sum_of(const std::vector<Tokens>& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), Tokens{0});
}

// Chunk sizes worth trying: doubling from `least` until one chunk holds the whole share.
std::vector<Tokens> doubling_sizes(Tokens least, const std::vector<Tokens>& lengths,
                                   std::size_t most) {
  const Tokens total = sum_of(lengths);
  std::vector<Tokens> sizes;
  for (Tokens size = std::max<Tokens>(1, least); sizes.size() < most; size *= 2) {
    sizes.push_back(size);
    if (size >= total) break;
  }
  return sizes;
}

int most_layers(const CostModel& cost) {
  int most = 0;
  for (const LayerRange& range : cost.stages()) most = std::max(most, range.count());
  return most;
}

struct Trial {
  Replica replica;
  Evaluation evaluation;
};

class StaticPlanner final : public Planner {
 public:
  StaticPlanner(std::string name, std::shared_ptr<const Site> site, StaticRecipes recipes)
      : name_(std::move(name)), site_(std::move(site)), recipes_(std::move(recipes)) {}

  Plan plan(const PlanRequest& request) const override {
    const auto started = std::chrono::steady_clock::now();
    Plan plan = site_->start(request);
    plan.planner.name = name_;
    const auto shares =
        deal_replicas(request.sequences, site_->cost(), plan.parallelism.data_parallel);
    Seconds slowest = -1.0;
    for (std::size_t r = 0; r < shares.size(); ++r) {
      if (shares[r].lengths.empty()) continue;
      plan_share(plan, ReplicaId(r), shares[r], request.forward_only, slowest);
    }
    site_->finish(plan);
    plan.planner.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    return plan;
  }

 private:
  void plan_share(Plan& plan, ReplicaId replica, const ReplicaShare& share, bool forward_only,
                  Seconds& slowest) const {
    struct Entry {
      Candidate candidate;
      Trial trial;
    };
    std::vector<Entry> entries;
    std::optional<Evaluation> nearest_miss;
    for (const StaticRecipe& recipe : recipes_(share.lengths, *site_, forward_only)) {
      Trial trial = fit(plan, share, recipe, forward_only);
      if (trial.evaluation.over_stage) {
        if (!nearest_miss || trial.evaluation.over_bytes < nearest_miss->over_bytes) {
          nearest_miss = trial.evaluation;
        }
        continue;
      }
      Candidate candidate{.schedule = recipe.schedule,
                          .slices = recipe.slices,
                          .chunk_tokens = recipe.chunk_tokens,
                          .pipelines = 1,
                          .chunks = static_cast<int>(recipe.chunking.chunks.size()),
                          .seconds = trial.evaluation.seconds,
                          .note = {}};
      entries.push_back({std::move(candidate), std::move(trial)});
    }
    if (entries.empty()) {
      INFINIPIPE_ASSERT(nearest_miss.has_value(), "no recipe for a share with sequences");
      site_->fail_memory(plan, *nearest_miss->over_stage, nearest_miss->over_bytes);
    }
    std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return a.candidate.seconds < b.candidate.seconds;
    });
    Site::place(plan, replica, share, entries.front().trial.replica);
    if (entries.front().candidate.seconds <= slowest) return;
    slowest = entries.front().candidate.seconds;
    plan.planner.slices = entries.front().candidate.slices;
    plan.planner.schedule = entries.front().candidate.schedule;
    plan.planner.candidates.clear();
    for (const Entry& entry : entries) plan.planner.candidates.push_back(entry.candidate);
  }

  // The least recomputation, the same everywhere, with which the recipe fits; full recomputation
  // where nothing does.
  Trial fit(const Plan& plan, const ReplicaShare& share, const StaticRecipe& recipe,
            bool forward_only) const {
    const auto trial = [&](int recompute) {
      Plan alone = plan;
      alone.sequences = share.lengths;
      alone.replicas.assign(1, static_replica(recipe.chunking.chunks, recipe.schedule, recompute,
                                              site_->cost(), forward_only));
      const Evaluation evaluation = site_->evaluator().evaluate(alone, site_->cost(), ReplicaId{});
      return Trial{std::move(alone.replicas.front()), evaluation};
    };
    Trial best = trial(0);
    if (!best.evaluation.over_stage || forward_only) return best;
    int low = 1;
    int high = most_layers(site_->cost());
    best = trial(high);
    while (low < high && !best.evaluation.over_stage) {
      const int middle = (low + high) / 2;
      Trial next = trial(middle);
      if (next.evaluation.over_stage) {
        low = middle + 1;
      } else {
        high = middle;
        best = std::move(next);
      }
    }
    return best;
  }

  std::string name_;
  std::shared_ptr<const Site> site_;
  StaticRecipes recipes_;
};

std::vector<StaticRecipe> packed_recipes(const std::string& schedule,
                                         const std::vector<Tokens>& lengths, const Site& site,
                                         bool forward_only) {
  const ChunkSeconds cost = chunk_seconds(site.cost(), forward_only);
  const Tokens longest = *std::max_element(lengths.begin(), lengths.end());
  std::vector<Tokens> sizes = doubling_sizes(longest, lengths, 8);
  Tokens capacity = 0;
  if (site.config().chunk_tokens) {
    capacity = *site.config().chunk_tokens;
    sizes = {capacity};
  }
  std::vector<StaticRecipe> recipes;
  for (const Tokens size : sizes) {
    const int slices = site.config().slices.value_or(1);
    recipes.push_back(
        {.schedule = schedule,
         .slices = slices,
         .chunk_tokens = size,
         .chunking = process_sequences(
             lengths, cost, {.slices = slices, .capacity = capacity, .pack_tokens = size})});
  }
  return recipes;
}

}  // namespace

std::unique_ptr<Planner> make_static_planner(std::string name, std::shared_ptr<const Site> site,
                                             StaticRecipes recipes) {
  return std::make_unique<StaticPlanner>(std::move(name), std::move(site), std::move(recipes));
}

std::vector<StaticRecipe> packed_1f1b_recipes(const std::vector<Tokens>& lengths, const Site& site,
                                              bool forward_only) {
  return packed_recipes("1f1b", lengths, site, forward_only);
}

std::vector<StaticRecipe> gpipe_recipes(const std::vector<Tokens>& lengths, const Site& site,
                                        bool forward_only) {
  return packed_recipes("gpipe", lengths, site, forward_only);
}

std::vector<StaticRecipe> seq1f1b_recipes(const std::vector<Tokens>& lengths, const Site& site,
                                          bool forward_only) {
  const ChunkSeconds cost = chunk_seconds(site.cost(), forward_only);
  const Tokens longest = *std::max_element(lengths.begin(), lengths.end());
  std::vector<Tokens> sizes;
  if (site.config().chunk_tokens) {
    sizes = {*site.config().chunk_tokens};
  } else if (site.config().slices) {
    sizes = {(longest + *site.config().slices - 1) / *site.config().slices};
  } else {
    sizes = doubling_sizes((longest + 15) / 16, lengths, 8);
  }
  std::vector<StaticRecipe> recipes;
  for (const Tokens size : sizes) {
    recipes.push_back({.schedule = "1f1b",
                       .slices = static_cast<int>((longest + size - 1) / size),
                       .chunk_tokens = size,
                       .chunking = uniform_slices(lengths, size, cost)});
  }
  return recipes;
}

Chunking uniform_slices(const std::vector<Tokens>& lengths, Tokens chunk_tokens,
                        const ChunkSeconds& cost) {
  INFINIPIPE_ASSERT(chunk_tokens >= 1, "slices without tokens");
  struct Run {
    std::vector<Chunk> chunks;
  };
  std::vector<Run> cut;
  std::vector<Chunk> open;  // first fit: tails first, then batched, in the order of opening
  std::vector<Tokens> used;
  std::vector<int> home;  // of an open tail: which run; -1: none
  for (int i = 0; i < static_cast<int>(lengths.size()); ++i) {
    const Tokens length = lengths[static_cast<std::size_t>(i)];
    if (length <= chunk_tokens) continue;
    Run run;
    for (Tokens at = 0; at < length;) {
      const Tokens end = std::min(length, at + chunk_tokens);
      run.chunks.push_back(
          {.kind = ChunkKind::kSplit, .slices = {{SequenceId(i), at, end}}, .recompute = {}});
      at = end;
    }
    open.push_back(run.chunks.back());
    used.push_back(run.chunks.back().tokens());
    home.push_back(static_cast<int>(cut.size()));
    cut.push_back(std::move(run));
  }
  for (int i = 0; i < static_cast<int>(lengths.size()); ++i) {
    const Tokens length = lengths[static_cast<std::size_t>(i)];
    if (length > chunk_tokens) continue;
    std::size_t at = 0;
    while (at < open.size() && used[at] + length > chunk_tokens) ++at;
    if (at == open.size()) {
      open.push_back({.kind = ChunkKind::kBatched, .slices = {}, .recompute = {}});
      used.push_back(0);
      home.push_back(-1);
    }
    open[at].slices.push_back({SequenceId(i), 0, length});
    used[at] += length;
    if (home[at] >= 0) open[at].kind = ChunkKind::kHybrid;
  }
  for (std::size_t at = 0; at < open.size(); ++at) {
    if (home[at] >= 0) cut[static_cast<std::size_t>(home[at])].chunks.back() = open[at];
  }
  std::stable_sort(cut.begin(), cut.end(),
                   [](const Run& a, const Run& b) { return a.chunks.size() > b.chunks.size(); });

  Chunking result;
  result.target_tokens = chunk_tokens;
  const auto add = [&](std::vector<Chunk> chunks) {
    const int begin = static_cast<int>(result.chunks.size());
    for (Chunk& chunk : chunks) {
      result.seconds.push_back(cost.chunk(chunk));
      result.target_seconds = std::max(result.target_seconds, result.seconds.back());
      result.chunks.push_back(std::move(chunk));
    }
    result.groups.push_back({begin, static_cast<int>(result.chunks.size())});
  };
  for (Run& run : cut) add(std::move(run.chunks));
  for (std::size_t at = 0; at < open.size(); ++at) {
    if (home[at] < 0) add({std::move(open[at])});
  }
  return result;
}

Replica static_replica(const std::vector<Chunk>& chunks, const std::string& schedule, int recompute,
                       const CostModel& cost, bool forward_only) {
  std::vector<int> counts;
  for (const LayerRange& range : cost.stages()) {
    counts.push_back(forward_only ? 0 : std::min(recompute, range.count()));
  }
  std::vector<Chunk> placed = chunks;
  for (Chunk& chunk : placed) chunk.recompute = counts;
  Replica replica;
  replica.pipelines.push_back(make_pipeline(std::move(placed), forward_only));
  replica.instructions = schedule == "gpipe"
                             ? all_forward_all_backward(replica.pipelines, cost.stage_count())
                             : one_f_one_b(replica.pipelines, cost.stage_count());
  return replica;
}

}  // namespace infinipipe
