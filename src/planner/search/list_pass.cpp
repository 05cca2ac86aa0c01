#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "planner/chunking/ordinary_cutting.h"
#include "planner/search/draft.h"
#include "planner/search/list_search.h"

namespace infinipipe {

namespace {

// How many times as long as other chunks one in sub-groups may take. Between 1.25 and 2 the steps
// of batches like those of bench_planner's section `degree` differ by 0.2%; without it they are
// 0.5% longer.
constexpr double kSubGroupSeconds = 1.5;

// The search over chunkings for list schedules.
//
// A chunking is aimed at a number of chunks of equal time. The pass first tries a coarse grid of
// such numbers, with a quick search for each. Every second number goes first, so that the grid's
// whole range is covered even where there is little effort to spend.
//
// If no chunking on the grid fits, the bounds of last resort are tried: slices so small that they
// always fit.
//
// The three most promising chunkings are then searched deeply. Around the best of them numbers a
// little smaller and larger are tried, twice, each time in closer steps.
class ListPass final {
 public:
  ListPass(Draft& draft, bool sub_groups) : draft_(draft), effort_(draft.effort()) {
    if (sub_groups) sub_groups_ = draft.sub_groups();
  }

  void run() {
    const std::vector<double> counts = chunk_counts();
    for (const std::size_t offset : {std::size_t{0}, std::size_t{1}}) {
      for (std::size_t i = offset; i < counts.size(); i += 2) {
        if (!effort_.left() && best_entry(false)) break;
        add_entries(counts[i]);
      }
    }
    if (!best_entry(false)) {
      effort_ = Effort(draft_.effort());  // the tries that did not fit may have used all of it
      add_entries(counts.front(), true);
      add_entries(counts[counts.size() / 2], true);
    }
    for (int round = 0; round < 3 && effort_.left(); ++round) {
      if (Entry* entry = best_entry(false)) deepen(*entry);
    }
    refine({0.78, 1.28}, 2);
    refine({0.88, 1.13}, 1);
    for (Entry& entry : entries_) {
      if (entry.best) draft_.add(std::move(*entry.best));
    }
  }

 private:
  // A chunking that was tried.
  struct Entry {
    double chunks = 0.0;  // the number that it was aimed at
    std::shared_ptr<const Cutting> cutting;
    std::optional<Schedule> best;
    bool deep = false;  // was searched deeply

    Seconds seconds() const {
      return best ? best->seconds : std::numeric_limits<double>::infinity();
    }
  };

  // The numbers of chunks to aim at. The least is too few to fill the pipeline. The most is where
  // the constant cost of chunks would become noticeable, or more where memory is so tight that
  // chunks must be small.
  std::vector<double> chunk_counts() const {
    const double stages = draft_.context().stages();
    const double low = std::max(1.0, stages / 2.0);
    double high = 48.0 * stages;
    const MemoryCost& memory = draft_.context().cost().profile().memory;
    if (draft_.context().limit() > 0.0) {
      const Bytes all = memory.activation_bytes_per_token * static_cast<double>(draft_.total()) /
                        (stages * draft_.context().cost().parallelism().sequence_parallel);
      high = std::max(high, 8.0 * stages * all / draft_.context().limit());
    }
    const Seconds per_chunk = draft_.seconds().per_chunk;
    if (per_chunk > 0.0) high = std::min(high, 0.2 * draft_.work() / per_chunk);
    high = std::max(low, std::min(high, static_cast<double>(draft_.total())));
    // A geometric grid. Square roots are the same on every machine, powers are not.
    const double ratio = std::sqrt(std::sqrt(std::sqrt(high / low)));
    std::vector<double> counts;
    for (double count = low; counts.size() < 9; count *= ratio) counts.push_back(count);
    return counts;
  }

  static bool in_sub_groups(const Chunking& chunking) {
    return std::any_of(chunking.chunks.begin(), chunking.chunks.end(),
                       [](const Chunk& chunk) { return chunk.degree > 0; });
  }

  // The longest sequence that may be cut.
  Tokens longest_cut(const ChunkBounds& bounds) const {
    if (bounds.whole_above == 0) return draft_.longest();
    Tokens longest = 1;
    for (const Tokens length : draft_.lengths()) {
      if (length <= bounds.whole_above) longest = std::max(longest, length);
    }
    return longest;
  }

  void add_entries(double count, bool last_resort = false) {
    for (const ChunkBounds& bounds : draft_.bounds()) {
      if (bounds.last_resort != last_resort) continue;
      add_entry(count, false, bounds);
      add_entry(count, true, bounds);
    }
  }

  // Tries about `count` chunks of equal time. With `mesh` a packed chunk has at most as many tokens
  // as the largest slice. A chunking that was tried before is not tried again.
  void add_entry(double count, bool mesh, const ChunkBounds& bounds) {
    const ChunkSeconds& seconds = draft_.seconds();
    const Seconds target = draft_.work() / count;
    const int slices = draft_.context().config().slices.value_or(
        std::max(1, static_cast<int>(std::lround(seconds.slice(0, longest_cut(bounds)) / target))));
    Chunking chunking =
        cut_sequences(draft_.lengths(), seconds,
                      {.slices = slices,
                       .capacity = bounds.capacity,
                       .slice_capacity = bounds.slice_capacity,
                       .pack_tokens = mesh ? 0 : draft_.total(),
                       .loosen_limit = 1.0,
                       .whole_above = bounds.whole_above,
                       .target_seconds = target + seconds.per_chunk,
                       .sub_groups = sub_groups_,
                       .devices = draft_.context().cost().parallelism().sequence_parallel,
                       .sub_group_seconds = kSubGroupSeconds},
                      draft_.context().config().passes);
    // Without sub-groups it is the other pass's.
    if (!sub_groups_.empty() && !in_sub_groups(chunking)) return;
    for (const Entry& entry : entries_) {
      if (entry.cutting->chunking->chunks == chunking.chunks) return;
    }
    entries_.push_back(
        {.chunks = count, .cutting = draft_.cost_of(slices, std::move(chunking)), .best = {}});
    Entry& entry = entries_.back();
    entry.best = search_list_schedule(entry.cutting, Thoroughness::kQuick, effort_);
  }

  // The fastest entry that was searched deeply, or the fastest that was not; null where none fits.
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

  // Tries the best number so far times each factor, and searches the best `rounds` of what is new
  // deeply.
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

  Draft& draft_;
  std::span<const SubGroupCost> sub_groups_;  // in which chunks may run
  Effort effort_;
  std::vector<Entry> entries_;
};

}  // namespace

void search_lists(Draft& draft) { ListPass(draft, false).run(); }
void search_degrees(Draft& draft) { ListPass(draft, true).run(); }

}  // namespace infinipipe
