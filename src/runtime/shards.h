// A tensor shared out over a stage's replicas by flat ranges, and the exchanges that sum, gather
// and hand out those ranges. All tensors are contiguous, and the same on every member but for their
// values. Each function is collective: every member of the group calls it, in the same order. An
// exchange carries bounded pieces, so that none needs a second copy of a large tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "comm/group.h"

namespace infinipipe {

using TensorGroup = Group<at::Tensor>;

// Elements [begin, end) of a tensor as it lies in memory.
struct FlatRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t count() const { return end - begin; }
};

// What member `rank` of `size` owns of `count` elements: [count r / size, count (r + 1) / size).
FlatRange owned_range(std::int64_t count, int rank, int size);
// That part of the tensor, flat, in the same memory.
at::Tensor owned_part(const at::Tensor& tensor, int rank, int size);

// A reduce-scatter: the own part becomes the sum of all members' in member order, the same bits on
// any engine. The rest of the tensor stays as it was.
void sum_to_owners(TensorGroup& group, const at::Tensor& tensor);
// An all-gather: every part becomes its owner's.
void share_owned(TensorGroup& group, const at::Tensor& tensor);
// All of the tensor becomes the first member's.
void copy_from_first(TensorGroup& group, const at::Tensor& tensor);

// The tensor of which each member has its own part, whole and flat, on the first member; undefined
// on the others. In a group of one it is `own` itself.
at::Tensor gather_to_first(TensorGroup& group, const at::Tensor& own, std::int64_t count);
// The opposite: the own part becomes that of the first member's `whole`, which others need not
// have.
void scatter_from_first(TensorGroup& group, const at::Tensor& whole, const at::Tensor& own,
                        std::int64_t count);

}  // namespace infinipipe
