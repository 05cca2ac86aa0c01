#include "planner/schedules/replica_of_steps.h"

#include <algorithm>

namespace infinipipe {

namespace {

// First chunk of each pipeline, and one past the last chunk.
std::vector<int> chunk_starts(const std::vector<ChunkGroup>& groups, std::size_t chunks,
                              const PipelineStarts& starts) {
  std::vector<int> result;
  for (const int group : starts) result.push_back(groups[static_cast<std::size_t>(group)].begin);
  result.push_back(static_cast<int>(chunks));
  return result;
}

}  // namespace

std::vector<Pipeline> make_pipelines(const Chunking& chunking, Keep level,
                                     const PipelineStarts& starts,
                                     const RecomputeMatrix& recompute) {
  const std::size_t all = chunking.chunks.size();
  const std::vector<int> first = chunk_starts(chunking.groups, all, starts);
  std::vector<Pipeline> pipelines;
  for (std::size_t i = 0; i + 1 < first.size(); ++i) {
    std::vector<Chunk> chunks(chunking.chunks.begin() + first[i],
                              chunking.chunks.begin() + first[i + 1]);
    for (std::size_t k = 0; k < chunks.size(); ++k) {
      chunks[k].keeping.clear();
      for (std::size_t at = static_cast<std::size_t>(first[i]) + k; at < recompute.size();
           at += all) {  // a stage each
        chunks[k].keeping.push_back(Keeping::of(level, recompute[at]));
      }
    }
    pipelines.push_back(make_pipeline(std::move(chunks)));
  }
  return pipelines;
}

StepLists one_f_one_b_steps(const ChunkTable& table, const PipelineStarts& starts) {
  const std::vector<int> first =
      chunk_starts(table.groups, static_cast<std::size_t>(table.chunks), starts);
  StepLists lists(static_cast<std::size_t>(table.stages));
  for (int p = 0; p < table.stages; ++p) {
    auto& list = lists[static_cast<std::size_t>(p)];
    list.reserve(2 * static_cast<std::size_t>(table.chunks));
    for (std::size_t i = 0; i + 1 < first.size(); ++i) {
      // Groups are sorted by slices, so the pipeline's first is its longest.
      const ChunkGroup& longest = table.groups[static_cast<std::size_t>(starts[i])];
      const int begin = first[i];
      const int count = first[i + 1] - begin;
      each_of_1f1b(count, count, warmup_forwards(table.stages, p, longest.slices()),
                   [&](Op op, int k) {
                     const int chunk = op == Op::kForward
                                           ? begin + k
                                           : table.backward[static_cast<std::size_t>(begin + k)];
                     list.push_back({op, chunk});
                   });
    }
  }
  return lists;
}

Replica make_replica(const Chunking& chunking, Keep level, const PipelineStarts& starts,
                     const StepLists& steps, const RecomputeMatrix& recompute) {
  const std::vector<int> first = chunk_starts(chunking.groups, chunking.chunks.size(), starts);
  Replica replica;
  replica.pipelines = make_pipelines(chunking, level, starts, recompute);
  for (const auto& list : steps) {
    std::vector<Instruction> instructions;
    instructions.reserve(list.size());
    for (const Step& step : list) {
      const auto next = std::upper_bound(first.begin(), first.end() - 1, step.chunk);
      const auto pipeline = std::distance(first.begin(), next) - 1;
      instructions.push_back({step.op, PipelineId(pipeline),
                              ChunkId(step.chunk - first[static_cast<std::size_t>(pipeline)])});
    }
    replica.instructions.push_back(std::move(instructions));
  }
  return replica;
}

}  // namespace infinipipe
