#include "planner/schedules/one_f_one_b.h"

#include <algorithm>

namespace infinipipe {

namespace {

// One past the last chunk that holds a slice of the same cut sequence as chunk `begin`.
std::size_t run_end(const std::vector<Chunk>& chunks, std::size_t begin) {
  std::size_t end = begin + 1;
  if (chunks[begin].kind == ChunkKind::kBatched) return end;
  const SequenceId sequence = chunks[begin].slices.at(0).sequence;
  while (end < chunks.size() && chunks[end].kind != ChunkKind::kBatched &&
         chunks[end].slices.at(0).sequence == sequence) {
    ++end;
  }
  return end;
}

void append_pipeline(std::vector<Instruction>& list, PipelineId id, const Pipeline& pipeline,
                     int warmup) {
  each_of_1f1b(static_cast<int>(pipeline.chunks.size()), static_cast<int>(pipeline.backward.size()),
               warmup, [&](Op op, int i) {
                 const int chunk =
                     op == Op::kForward ? i : pipeline.backward[static_cast<std::size_t>(i)];
                 list.push_back({op, id, ChunkId(chunk)});
               });
}

}  // namespace

std::vector<int> backward_order(const std::vector<Chunk>& chunks) {
  std::vector<int> order;
  order.reserve(chunks.size());
  for (std::size_t begin = 0; begin < chunks.size();) {
    const std::size_t end = run_end(chunks, begin);
    for (std::size_t k = end; k > begin; --k) order.push_back(static_cast<int>(k - 1));
    begin = end;
  }
  return order;
}

int longest_run(const std::vector<Chunk>& chunks) {
  std::size_t longest = 1;
  for (std::size_t begin = 0; begin < chunks.size();) {
    const std::size_t end = run_end(chunks, begin);
    longest = std::max(longest, end - begin);
    begin = end;
  }
  return static_cast<int>(longest);
}

Pipeline make_pipeline(std::vector<Chunk> chunks, bool forward_only) {
  Pipeline pipeline;
  pipeline.warmup_slices = longest_run(chunks);
  if (!forward_only) pipeline.backward = backward_order(chunks);
  pipeline.chunks = std::move(chunks);
  return pipeline;
}

InstructionLists one_f_one_b(const std::vector<Pipeline>& pipelines, int stages) {
  InstructionLists lists(static_cast<std::size_t>(stages));
  for (int p = 0; p < stages; ++p) {
    for (std::size_t i = 0; i < pipelines.size(); ++i) {
      append_pipeline(lists[static_cast<std::size_t>(p)], PipelineId(i), pipelines[i],
                      warmup_forwards(stages, p, pipelines[i].warmup_slices));
    }
  }
  return lists;
}

InstructionLists all_forward_all_backward(const std::vector<Pipeline>& pipelines, int stages) {
  InstructionLists lists(static_cast<std::size_t>(stages));
  for (auto& list : lists) {
    for (std::size_t i = 0; i < pipelines.size(); ++i) {
      append_pipeline(list, PipelineId(i), pipelines[i],
                      static_cast<int>(pipelines[i].chunks.size()));
    }
  }
  return lists;
}

}  // namespace infinipipe
