// Small chunk tables with known costs, for the planner's unit tests.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "base/random.h"
#include "planner/schedules/replica_of_steps.h"

namespace infinipipe::test {

// Groups of the given slice counts; every stage has `layers` layers. Costs are filled by the test.
inline ChunkTable empty_table(int stages, const std::vector<int>& slices,
                              const std::vector<int>& layers) {
  ChunkTable table;
  table.stages = stages;
  table.layers = layers;
  table.budget.assign(static_cast<std::size_t>(stages), std::numeric_limits<double>::infinity());
  for (const int count : slices) {
    const int begin = table.chunks;
    table.chunks += count;
    table.groups.push_back({begin, table.chunks});
    for (int k = begin; k < table.chunks; ++k) {
      table.group_of.push_back(static_cast<int>(table.groups.size()) - 1);
    }
    for (int k = table.chunks; k > begin; --k) table.backward.push_back(k - 1);
  }
  table.transfer.assign(static_cast<std::size_t>(table.chunks), 0.0);
  table.entries.resize(static_cast<std::size_t>(stages) * static_cast<std::size_t>(table.chunks));
  return table;
}

// Every chunk alike: F 1 s, B 2 s of which W 0.5 s, a layer 0.25 s, 8 bytes of which a recomputed
// layer saves 1.5; a recomputed layer needs 1 byte.
inline ChunkTable even_table(int stages, const std::vector<int>& slices, int layers = 4) {
  ChunkTable table =
      empty_table(stages, slices, std::vector<int>(static_cast<std::size_t>(stages), layers));
  for (ChunkEntry& entry : table.entries) {
    entry = {.forward = 1.0,
             .backward = 2.0,
             .weight = 0.5,
             .layer = 0.25,
             .activation = 8.0,
             .saved = 1.5,
             .workspace = 1.0};
  }
  return table;
}

// No layer of any chunk is recomputed.
inline RecomputeMatrix none(const ChunkTable& table) {
  return RecomputeMatrix(table.entries.size(), 0);
}

// Anything: uneven layers, chunks and stages, dK and dV of cut sequences. `tightness` in (0, 1]
// scales the room between what one group alone needs with full recomputation and what all need.
inline ChunkTable random_table(Random& random, int most_stages, int most_groups, int most_layers,
                               double tightness) {
  const int stages = static_cast<int>(random.between(1, most_stages));
  std::vector<int> slices(static_cast<std::size_t>(random.between(1, most_groups)));
  for (int& n : slices) n = random.uniform() < 0.5 ? 1 : static_cast<int>(random.between(2, 4));
  std::sort(slices.rbegin(), slices.rend());
  std::vector<int> layers(static_cast<std::size_t>(stages));
  for (int& n : layers) n = static_cast<int>(random.between(1, most_layers));
  ChunkTable table = empty_table(stages, slices, layers);
  for (Seconds& t : table.transfer) t = 0.1 * random.uniform();
  for (int k = 0; k < table.chunks; ++k) {
    const ChunkGroup& group =
        table.groups[static_cast<std::size_t>(table.group_of[static_cast<std::size_t>(k)])];
    const double size = 0.5 + random.uniform();
    for (int p = 0; p < stages; ++p) {
      const double l = layers[static_cast<std::size_t>(p)];
      ChunkEntry& entry = table.entries[table.index(p, k)];
      entry.forward = size * l;
      entry.backward = 2.0 * size * l * (0.9 + 0.2 * random.uniform());
      entry.weight = 0.5 * size * l;
      entry.layer = size;
      entry.activation = 8.0 * size * l;
      entry.saved = 7.0 * size;
      entry.workspace = 8.0 * size;
      if (group.slices() > 1) entry.grads_free = 0.5 * size * l;
    }
  }
  for (const ChunkGroup& group : table.groups) {
    if (group.slices() == 1) continue;
    for (int p = 0; p < stages; ++p) {
      Bytes whole = 0.0;
      for (int k = group.begin; k < group.end; ++k) whole += table.at(p, k).grads_free;
      table.entries[table.index(p, group.end - 1)].grads_open = whole;
    }
  }
  for (int p = 0; p < stages; ++p) {
    RecomputeMatrix full(table.entries.size(), table.layers[static_cast<std::size_t>(p)]);
    Bytes least = 0.0;
    Bytes all = 0.0;
    for (int g = 0; g < static_cast<int>(table.groups.size()); ++g) {
      least = std::max(least, group_peaks(table, full, p, g).back());
    }
    for (int k = 0; k < table.chunks; ++k) all += table.at(p, k).activation;
    table.budget[static_cast<std::size_t>(p)] = least + (1.0 - tightness) * all + 1e-9;
  }
  return table;
}

// A plan of one layer range a stage that runs these steps, for validate(). Sequences have as many
// tokens as slices.
inline Plan plan_of(const ChunkTable& table, const PipelineStarts& starts, const StepLists& steps,
                    const RecomputeMatrix& recompute) {
  Chunking chunking;
  chunking.groups = table.groups;
  Plan plan;
  for (const ChunkGroup& group : table.groups) {
    const SequenceId sequence(plan.sequences.size());
    plan.sequences.push_back(group.slices());
    for (int k = group.begin; k < group.end; ++k) {
      chunking.chunks.push_back(
          {.kind = group.slices() > 1 ? ChunkKind::kSplit : ChunkKind::kBatched,
           .slices = {{sequence, k - group.begin, k - group.begin + 1}},
           .keeping = {}});
    }
  }
  int begin = 0;
  for (const int count : table.layers) {
    plan.stages.push_back({begin, begin + count});
    begin += count;
  }
  plan.parallelism.stages = table.stages;
  plan.replicas.push_back(make_replica(chunking, table.level, starts, steps, recompute));
  return plan;
}

}  // namespace infinipipe::test
