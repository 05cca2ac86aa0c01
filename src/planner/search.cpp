#include "planner/search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "infinipipe/base/error.h"
#include "planner/ablation.h"
#include "planner/list_search.h"
#include "planner/memory_floor.h"
#include "planner/paper_search.h"
#include "planner/static_planner.h"

namespace infinipipe {

namespace {

class Search final {
 public:
  Search(const std::vector<Tokens>& lengths, const Site& site, const SearchOptions& options)
      : lengths_(lengths),
        site_(site),
        options_(options),
        seconds_(chunk_seconds(site.cost())),
        effort_(options.effort) {
    longest_ = *std::max_element(lengths.begin(), lengths.end());
    total_ = std::accumulate(lengths.begin(), lengths.end(), Tokens{0});
    for (const Tokens length : lengths) work_ += seconds_.slice(0, length);
  }

  SearchResult run() {
    SearchResult result;
    const MemoryFloor floor =
        memory_floor(site_.cost(), lengths_, site_.limit(), site_.level());
    if (floor.ways.empty()) {
      result.over_stage = floor.stage;
      result.over_bytes = floor.over;
      return result;
    }
    for (MemoryWay way : floor.ways) {
      if (breaks_settings(way)) continue;
      way.capacity = std::min({way.capacity, total_, site_.config().chunk_tokens.value_or(total_)});
      way.slice_capacity = std::min(way.slice_capacity, way.capacity);
      ways_.push_back(way);
    }
    if (ways_.empty()) {
      result.over_stage = floor.stage;
      result.over_bytes = std::max(floor.over, 1.0);
      return result;
    }
    if (!options_.paper_only && site_.features().list_scheduler) {
      search_lists();
      if (site_.features().elastic_chunking && site_.features().packing) search_static();
    }
    const auto look = [this](const ChunkTable& table) { remember_shortfall(table); };
    for (Schedule& schedule :
         search_paper_schedules(lengths_, site_, ways_, best_seconds(), look)) {
      found_.push_back(std::move(schedule));
    }
    std::stable_sort(found_.begin(), found_.end(),
                     [](const Schedule& a, const Schedule& b) { return a.seconds < b.seconds; });
    if (found_.empty()) {
      result.over_stage = over_stage_;
      result.over_bytes = std::max(over_bytes_, 1.0);
    }
    result.schedules = std::move(found_);
    return result;
  }

 private:
  struct Entry {
    double chunks = 0.0;  // aimed at
    std::shared_ptr<const Cutting> cutting;
    std::optional<Schedule> best;
    bool deep = false;

    Seconds seconds() const {
      return best ? best->seconds : std::numeric_limits<double>::infinity();
    }
  };

  // Whether a sequence that this way keeps whole was to be cut, or is larger than a chunk may be.
  bool breaks_settings(const MemoryWay& way) const {
    if (way.whole_above == 0) return false;
    const PlannerConfig& config = site_.config();
    return config.slices.value_or(1) > 1 ||
           longest_ > std::max(way.whole_above, config.chunk_tokens.value_or(longest_));
  }

  // How many chunks to aim at: from too few to fill the pipeline to where the chunks' own cost
  // would be felt; more where memory asks for small chunks.
  std::vector<double> chunk_counts() const {
    const double stages = site_.stages();
    const double low = std::max(1.0, stages / 2.0);
    double high = 48.0 * stages;
    const MemoryCost& memory = site_.cost().profile().memory;
    if (site_.limit() > 0.0) {
      const Bytes all = memory.activation_bytes_per_token * static_cast<double>(total_) /
                        (stages * site_.cost().parallelism().sequence_parallel);
      high = std::max(high, 8.0 * stages * all / site_.limit());
    }
    if (seconds_.per_chunk > 0.0) high = std::min(high, 0.2 * work_ / seconds_.per_chunk);
    high = std::max(low, std::min(high, static_cast<double>(total_)));
    // A geometric grid. Square roots are the same on every machine, powers are not.
    const double ratio = std::sqrt(std::sqrt(std::sqrt(high / low)));
    std::vector<double> counts;
    for (double count = low; counts.size() < 9; count *= ratio) counts.push_back(count);
    return counts;
  }

  // The longest sequence that may be cut.
  Tokens longest_cut(const MemoryWay& way) const {
    if (way.whole_above == 0) return longest_;
    Tokens longest = 1;
    for (const Tokens length : lengths_) {
      if (length <= way.whole_above) longest = std::max(longest, length);
    }
    return longest;
  }

  void add_entries(double count, bool last_resort = false) {
    for (const MemoryWay& way : ways_) {
      if (way.last_resort != last_resort) continue;
      add_entry(count, false, way);
      add_entry(count, true, way);
    }
  }

  // Chunks of equal time, about `count` of them; `mesh`: no more tokens than the largest slice.
  void add_entry(double count, bool mesh, const MemoryWay& way) {
    const Seconds target = work_ / count;
    const int slices = site_.config().slices.value_or(
        std::max(1, static_cast<int>(std::lround(seconds_.slice(0, longest_cut(way)) / target))));
    auto cutting = std::make_shared<Cutting>();
    cutting->slices = slices;
    cutting->chunking = cut_sequences(lengths_, seconds_,
                                      {.slices = slices,
                                       .capacity = way.capacity,
                                       .slice_capacity = way.slice_capacity,
                                       .pack_tokens = mesh ? 0 : total_,
                                       .loosen_limit = 1.0,
                                       .whole_above = way.whole_above,
                                       .target_seconds = target + seconds_.per_chunk},
                                      site_.features());
    for (const Entry& entry : entries_) {
      if (entry.cutting->chunking.chunks == cutting->chunking.chunks) return;
    }
    cutting->table = site_.table(cutting->chunking, lengths_);
    remember_shortfall(cutting->table);
    entries_.push_back({.chunks = count, .cutting = std::move(cutting), .best = {}});
    Entry& entry = entries_.back();
    entry.best = search_list_schedule(entry.cutting, Thoroughness::kQuick, effort_);
  }

  Entry* best_entry(bool deep) {
    Entry* best = nullptr;
    for (Entry& entry : entries_) {
      if (entry.deep != deep || !entry.best) continue;
      if (!best || entry.seconds() < best->seconds()) best = &entry;
    }
    return best;
  }

  void deepen(Entry& entry) {
    entry.deep = true;
    auto found = search_list_schedule(entry.cutting, Thoroughness::kDeep, effort_);
    if (found && found->seconds < entry.seconds()) entry.best = std::move(found);
  }

  void search_lists() {
    const std::vector<double> counts = chunk_counts();
    // Coarse first, so that little effort still spans the range.
    for (const std::size_t offset : {std::size_t{0}, std::size_t{1}}) {
      for (std::size_t i = offset; i < counts.size(); i += 2) {
        if (!effort_.left() && best_entry(false)) break;
        add_entries(counts[i]);
      }
    }
    if (!best_entry(false)) {
      effort_ = Effort(options_.effort);  // what fitted nowhere has used it up
      add_entries(counts.front(), true);
      add_entries(counts[counts.size() / 2], true);
    }
    for (int round = 0; round < 3 && effort_.left(); ++round) {
      if (Entry* entry = best_entry(false)) deepen(*entry);
    }
    refine({0.78, 1.28}, 2);
    refine({0.88, 1.13}, 1);
    for (Entry& entry : entries_) {
      if (entry.best) found_.push_back(std::move(*entry.best));
    }
  }

  // Chunk counts around the best one so far; the most promising are searched deeply.
  void refine(const std::vector<double>& factors, int rounds) {
    const Entry* best = best_entry(true);
    if (!best) return;
    const double count = best->chunks;
    for (const double factor : factors) {
      if (effort_.left()) add_entries(count * factor);
    }
    for (int round = 0; round < rounds && effort_.left(); ++round) {
      if (Entry* entry = best_entry(false)) deepen(*entry);
    }
  }

  Seconds best_seconds() const {
    Seconds best = std::numeric_limits<double>::infinity();
    for (const Schedule& schedule : found_) best = std::min(best, schedule.seconds);
    return best;
  }

  // What users would run without us. Most are dismissed by what their order takes at least.
  void search_static() {
    std::vector<StaticRecipe> recipes = packed_1f1b_recipes(lengths_, site_, false);
    for (StaticRecipe& recipe : seq1f1b_recipes(lengths_, site_, false)) {
      recipes.push_back(std::move(recipe));
    }
    for (StaticRecipe& recipe : recipes) {
      auto cutting = std::make_shared<Cutting>();
      cutting->slices = recipe.slices;
      cutting->chunking = std::move(recipe.chunking);
      cutting->table = site_.table(cutting->chunking, lengths_);
      remember_shortfall(cutting->table);
      try_static(std::move(cutting));
    }
  }

  void try_static(std::shared_ptr<const Cutting> cutting) {
    const ChunkTable& table = cutting->table;
    StepLists steps = one_f_one_b_steps(table, {0});
    RecomputeMatrix recompute(table.entries.size(), 0);
    if (least_seconds(steps, table) >= best_seconds()) return;
    std::optional<Schedule> best;
    const auto offer = [&](const RecomputeMatrix& matrix) {
      const Seconds seconds = time_steps(steps, table, matrix).seconds;
      if (best && seconds >= best->seconds) return;
      best = Schedule{.cutting = cutting,
                      .kind = ScheduleKind::kOneFOneB,
                      .steps = steps,
                      .recompute = matrix,
                      .seconds = seconds};
    };
    if (site_.features().adaptive_recompute) {
      if (auto least = least_recompute(steps, table)) offer(*least);
    }
    const int most = *std::max_element(table.layers.begin(), table.layers.end());
    for (int layers = 0; layers <= most; ++layers) {
      for (int p = 0; p < table.stages; ++p) {
        const int count = std::min(layers, table.layers[static_cast<std::size_t>(p)]);
        for (int k = 0; k < table.chunks; ++k) recompute[table.index(p, k)] = count;
      }
      if (!fits(steps, table, recompute)) continue;
      offer(recompute);
      break;
    }
    if (best) found_.push_back(std::move(*best));
  }

  // What the chunking lacks even one group at a time, all recomputed.
  void remember_shortfall(const ChunkTable& table) {
    if (!std::isfinite(table.room.front())) return;
    RecomputeMatrix full(table.entries.size());
    Bytes over = 0.0;
    StageId stage;
    for (int p = 0; p < table.stages; ++p) {
      const auto s = static_cast<std::size_t>(p);
      for (int k = 0; k < table.chunks; ++k) full[table.index(p, k)] = table.layers[s];
      for (int g = 0; g < static_cast<int>(table.groups.size()); ++g) {
        const Bytes lacks = group_peaks(table, full, p, g).back() - table.room[s];
        if (lacks > over) {
          over = lacks;
          stage = StageId(p);
        }
      }
    }
    if (over_bytes_ < 0.0 || over < over_bytes_) {
      over_bytes_ = over;
      over_stage_ = stage;
    }
  }

  const std::vector<Tokens>& lengths_;
  const Site& site_;
  const SearchOptions options_;
  const ChunkSeconds seconds_;
  Effort effort_;
  Tokens longest_ = 0;
  Tokens total_ = 0;
  std::vector<MemoryWay> ways_;
  Seconds work_ = 0.0;
  std::vector<Entry> entries_;
  std::vector<Schedule> found_;
  Bytes over_bytes_ = -1.0;
  StageId over_stage_;
};

}  // namespace

SearchResult search_schedules(const std::vector<Tokens>& lengths, const Site& site,
                              const SearchOptions& options) {
  INFINIPIPE_ASSERT(!lengths.empty(), "nothing to search for");
  return Search(lengths, site, options).run();
}

}  // namespace infinipipe
