// What a layer of a chunk keeps of its forward until its backward: one table row for each level,
// and one count of layers for each level that keeps less than everything. Planner, cost model,
// validator, executor, profile and files read this table; none has a list of its own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace infinipipe {

// In the order in which a stage's layers stand, from its first to its last: the first ones keep
// their attention, the next ones their input alone, and so on.
enum class Keep : std::uint8_t {
  kAttention,  // its input, and attention's output with its softmax statistics
  kInput,      // its input alone
  kMlpInput,   // all but the MLP's middle: attention, what goes into it, and what leaves it
  kAll,        // all that its backward reads: nothing runs again
};

struct KeepLevel {
  Keep keep = Keep::kAll;
  // In configurations ("planner.recompute_keeps") and reports.
  const char* name = "";
  // The part of a layer that runs again, in the words of reports: "12 of them around attention".
  // Empty where the whole layer runs again, so that there is nothing to add.
  const char* remade_part = "";
  // The field of a chunk in plan.json that counts, for each stage, the recomputed layers with this
  // level. Null for kAll, and for the one level that all recomputed layers have which no such field
  // counts.
  const char* plan_field = nullptr;
  // The object in profile.json with the seconds that it takes to make the rest of a layer again. A
  // profile without it does not know a level that has a field in plan.json, and planners do not use
  // that level; the one level without such a field then costs as much as a forward. Null: there is
  // nothing to price.
  const char* profile_field = nullptr;
  // In that object: bytes a token that one layer keeps beside its input. Null: none.
  const char* profile_bytes = nullptr;
  // Whether the layer keeps its K and V. Where it does not, the K and V of a cut sequence's tokens
  // must still be kept, because later slices read them; these bytes are then counted apart.
  bool keeps_kv = false;
  // Attention runs again, so that its terms are part of the price.
  bool attends_again = false;
  // Readers of plan.json's version 1 take such layers for ones that keep their input alone, whose
  // times and bytes are others: a plan with them has version 2 and requires the field's name.
  bool needs_version_2 = false;
};

inline constexpr std::array kKeepLevels = {
    KeepLevel{.keep = Keep::kAttention,
              .name = "attention",
              .remade_part = "around attention",
              .plan_field = "attention_kept",
              .profile_field = "recompute_around_attention",
              .profile_bytes = "attention_bytes_per_token"},
    KeepLevel{.keep = Keep::kInput,
              .name = "input",
              .profile_field = "recompute_layer",
              .attends_again = true},
    KeepLevel{.keep = Keep::kMlpInput,
              .name = "mlp_input",
              .remade_part = "in the MLP alone",
              .plan_field = "mlp_input_kept",
              .profile_field = "recompute_mlp",
              .profile_bytes = "kept_bytes_per_token",
              .keeps_kv = true,
              .needs_version_2 = true},
    KeepLevel{.keep = Keep::kAll, .name = "all", .keeps_kv = true},
};
// Levels of layers that run again: all but the last row.
inline constexpr std::size_t kRemadeLevels = kKeepLevels.size() - 1;

constexpr std::size_t index_of(Keep keep) { return static_cast<std::size_t>(keep); }
constexpr const KeepLevel& level_of(Keep keep) { return kKeepLevels[index_of(keep)]; }
// The level of that name among those of layers that run again.
std::optional<Keep> remade_level(std::string_view name);

// Something for each level of layers that run again.
template <class T>
using ByRemadeLevel = std::array<T, kRemadeLevels>;

// How many of a stage's layers keep less than everything, for one chunk. The stage's first layers
// have the table's first level, and so on; the layers behind them keep everything.
struct Keeping {
  ByRemadeLevel<int> layers{};

  static constexpr Keeping of(Keep level, int count) {
    Keeping keeping;
    if (level != Keep::kAll) keeping[level] = count;
    return keeping;
  }
  // `level` is not kAll.
  constexpr int& operator[](Keep level) { return layers[index_of(level)]; }
  constexpr int operator[](Keep level) const { return layers[index_of(level)]; }
  // Layers that run again in the backward.
  constexpr int remade() const {
    int sum = 0;
    for (const int count : layers) sum += count;
    return sum;
  }
  // Of these, the layers whose K and V are not among what they keep.
  constexpr int without_kv() const {
    int sum = 0;
    for (std::size_t i = 0; i < kRemadeLevels; ++i) sum += kKeepLevels[i].keeps_kv ? 0 : layers[i];
    return sum;
  }
  // What the stage's layer number `layer`, counted from 0, keeps.
  constexpr Keep of_layer(int layer) const {
    for (std::size_t i = 0; i < kRemadeLevels; ++i) {
      if (layer < layers[i]) return kKeepLevels[i].keep;
      layer -= layers[i];
    }
    return Keep::kAll;
  }
  bool operator==(const Keeping&) const = default;
};

// One chunk's keeping by stage: counts[p] layers of stage p have the level, the others keep
// everything.
std::vector<Keeping> keeping_by_stage(Keep level, const std::vector<int>& counts);

// "auto, attention or input": the values of planner.recompute_keeps.
std::string remade_level_names();

}  // namespace infinipipe
