// What a chunk's forward leaves on one stage for its backward.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "model/common/layer.h"
#include "model/common/stage_model.h"

namespace infinipipe {

// Owned by whoever runs the chunk; dies in StageModel::backward or after backward_weight. Keys and
// values of cut sequences are in the stage's KvStore besides (sharing the tensors of kept layers).
class ChunkState final {
 public:
  explicit ChunkState(ChunkWork chunk_work) : chunk(std::move(chunk_work)) {}
  ChunkState(const ChunkState&) = delete;
  ChunkState& operator=(const ChunkState&) = delete;

  // Bytes of all tensors held. Keys and values that the KvStore shares are counted here.
  std::int64_t bytes() const;

  ChunkWork chunk;
  std::vector<std::unique_ptr<LayerPass>> layers;  // of this stage, first to last
  at::Tensor token_ids;                            // int64 [T], first stage
  at::Tensor head_grad;     // [T, D] gradient of the last layer's output, last stage
  bool input_done = false;  // backward_input has run, backward_weight has not
};

}  // namespace infinipipe
