// The elastic planner's parts by name: the one list that configurations (planner.disable), reports
// (planner.passes in plan.json) and docs/planner.md share. What each does when it runs is
// src/planner/epp.cpp's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "infinipipe/base/units.h"

namespace infinipipe {

enum class Pass : std::uint8_t {
  kLayerSplit,
  kElasticCutting,
  kPacking,
  kListSchedules,
  kSplitBackward,
  kDegrees,
  kOrdinaryOrders,
  kProgramme,
  kGrouping,
  kAdaptiveRecompute,
  kOrdinaryPlans,
  kKeepMore,
};

struct PassRow {
  Pass value;
  const char* name;
  const char* line;     // what it does
  const char* without;  // what happens where it is switched off
  // A step of its own, which reports say the time and the gain of. The others act inside steps.
  bool step = false;
};

// In the order of the enum, which is the order in which they act.
inline constexpr std::array kPasses = {
    PassRow{Pass::kLayerSplit, "layer split", "layers over stages so that the busiest has least",
            "equal layers, whatever the head costs"},
    PassRow{Pass::kElasticCutting, "elastic cutting", "slices and packed chunks of equal time",
            "slices of equal tokens, packed first-fit"},
    PassRow{Pass::kPacking, "packing", "short sequences share chunks",
            "every whole sequence in a chunk of its own"},
    PassRow{Pass::kListSchedules, "list schedules",
            "orders by a simulated clock, over chunkings of many sizes", "1F1B orders alone", true},
    PassRow{Pass::kSplitBackward, "split backward", "weight gradients fill waits",
            "no weight gradient apart"},
    PassRow{Pass::kDegrees, "degrees",
            "short sequences go to sub-groups of a stage's devices, which exchange less",
            "the whole group shares every chunk", true},
    PassRow{Pass::kOrdinaryOrders, "ordinary orders",
            "what users would run without this planner, with the least recomputation",
            "not looked at", true},
    PassRow{Pass::kProgramme, "integer programme",
            "the paper's search: grouped 1F1B, recomputation by diagonals", "not looked at", true},
    PassRow{Pass::kGrouping, "grouping", "sequences of like lengths share a 1F1B pipeline",
            "all sequences in one pipeline"},
    PassRow{Pass::kAdaptiveRecompute, "adaptive recomputation",
            "as many recomputed layers as each chunk and stage needs",
            "one least number of layers for all chunks and stages"},
    PassRow{Pass::kOrdinaryPlans, "ordinary plans",
            "where memory is tight, whole ordinary plans judged exactly", "not looked at", true},
    PassRow{Pass::kKeepMore, "keep more", "layers keep what memory has room for after the search",
            "layers keep what the search gave them", true},
};

constexpr const PassRow& row_of(Pass pass) { return kPasses[static_cast<std::size_t>(pass)]; }
constexpr const char* to_string(Pass pass) { return row_of(pass).name; }

// Which passes may run; all of them by default.
class PassSet final {
 public:
  constexpr PassSet() = default;
  // All but these.
  static constexpr PassSet without(std::span<const Pass> passes) {
    PassSet set;
    for (const Pass pass : passes) set.disable(pass);
    return set;
  }

  static constexpr PassSet without(std::initializer_list<Pass> passes) {
    return without(std::span(passes.begin(), passes.size()));
  }

  constexpr bool has(Pass pass) const { return (disabled_ & bit(pass)) == 0; }
  constexpr void disable(Pass pass) { disabled_ |= bit(pass); }
  // What may run by both.
  constexpr PassSet both(const PassSet& other) const {
    PassSet set;
    set.disabled_ = disabled_ | other.disabled_;
    return set;
  }
  bool operator==(const PassSet&) const = default;

  // "packing,keep more": the names of what is switched off, in the table's order.
  std::string disabled_names() const;
  // From such a list, spaces around names left out. Throws InputError(where, ...) for a name that
  // is none, naming the nearest.
  static PassSet without_named(std::string_view list, std::string_view where);

 private:
  static constexpr std::uint32_t bit(Pass pass) { return 1U << static_cast<unsigned>(pass); }
  std::uint32_t disabled_ = 0;
};

// What a pass did for one plan, over all replicas.
struct PassReport {
  std::string name;
  Seconds seconds = 0.0;  // wall time that it took
  // By how much it shortened the fastest step known before it, as planned; 0 for the pass that
  // found the first one.
  Seconds gain = 0.0;
};

}  // namespace infinipipe
