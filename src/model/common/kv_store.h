// Keys and values of cut sequences on one stage, and the gradients that later slices add to them.
//
// A block is one slice's keys and values in one layer, [slice tokens, kv width], keys after RoPE. A
// kept layer's block shares its tensors with the layer's saved activations; a recomputed layer's
// block is all that stays besides the layer's input. A sequence's last slice has no block: nothing
// reads it. So the blocks of a sequence cover [0, n) without gaps, in the order of its slices.
//
// Gradients: the backward of a slice adds to the blocks before it, in float32 for bfloat16 (else in
// the compute dtype). A block's accumulator comes alive when the first later slice adds to it,
// which is in the backward of the sequence's last slice, and dies with the block, when the block's
// own slice has had its backward in that layer. Threading: one thread at a time; one store per
// stage.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "infinipipe/base/ids.h"
#include "infinipipe/base/units.h"

namespace infinipipe {

struct KvBlock {
  Tokens begin = 0;
  Tokens end = 0;
  at::Tensor key;  // [end - begin, kv width], contiguous
  at::Tensor value;
  at::Tensor key_grad;  // accumulators; undefined until a later slice added something
  at::Tensor value_grad;
};

class KvStore final {
 public:
  // Appends the block of tokens [begin, end); the sequence's blocks must end at `begin`.
  void append(SequenceId sequence, int layer, Tokens begin, at::Tensor key, at::Tensor value);

  // The blocks that cover [0, begin), oldest first; empty for begin 0. With a window only those
  // that a token at `begin` or later sees some of: the last window - 1 tokens. Valid until the next
  // call that changes the store. Asserts that all are there.
  std::span<KvBlock> before(SequenceId sequence, int layer, Tokens begin, Tokens window = 0);

  // Removes and returns the block that starts at `begin`, which must be the sequence's newest in
  // that layer: backwards run from the last slice to the first.
  KvBlock take(SequenceId sequence, int layer, Tokens begin);

  // Joins a sequence's blocks to one in each layer where there are more than `most`: for texts that
  // grow token by token. None may have gradients.
  void join(SequenceId sequence, std::size_t most);

  // Drops a sequence's blocks in one layer (after its last slice in an evaluation), or everything.
  void drop(SequenceId sequence, int layer);
  void clear() { blocks_.clear(); }

  // True when no block is alive: so after every complete step.
  bool empty() const { return blocks_.empty(); }
  // Bytes of keys and values, and of accumulators.
  std::int64_t kv_bytes() const;
  std::int64_t grad_bytes() const;

 private:
  std::map<std::pair<SequenceId, int>, std::vector<KvBlock>> blocks_;
};

}  // namespace infinipipe
