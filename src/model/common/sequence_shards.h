// One chunk on the ranks of a sequence-parallel group (Ulysses): each has some of the chunk's
// tokens, and in attention all tokens and some of the heads. docs/distributed.md ("Sequence
// parallelism") draws where a layer goes from one to the other.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "comm/group.h"
#include "core/head_shares.h"
#include "core/token_shares.h"
#include "infinipipe/base/units.h"
#include "model/common/kernels.h"

namespace infinipipe {

// Shapes: T tokens of the chunk, R of them on this rank, Q and KV all heads' widths, Qs and KVs
// those of this rank's. R may be 0, Qs and KVs are not. Every function is collective: each rank of
// the group calls it, in the same order. What is given must not change until the next call.
class SequenceShards final {
 public:
  // `heads` are the model's, and the group's size is one that heads_allow(). What this rank gives
  // in exchanges, its own part of them too, is added to `given`. Group and `given` must outlive
  // this.
  SequenceShards(const kernels::Heads& heads, Group<at::Tensor>& group, Tokens tokens,
                 std::int64_t* given);

  TokenRange tokens() const { return token_shares_[index(group_->rank())]; }
  // This rank's heads, which attention runs over.
  const kernels::Heads& heads() const { return own_; }

  // [R, Q], [R, KV], [R, KV] of this rank's tokens -> [T, Qs], [T, KVs], [T, KVs] of its heads. One
  // exchange.
  kernels::QueryKeyValue to_heads(const kernels::QueryKeyValue& of_tokens) const;
  // [R, Q] -> [T, Qs].
  at::Tensor to_heads(const at::Tensor& of_tokens) const;
  // The way back, [T, Qs] -> [R, Q].
  at::Tensor to_tokens(const at::Tensor& of_heads) const;
  // The same of gradients, which become `dtype` first. Where several ranks have one key-value
  // head, their parts are added up in rank order.
  kernels::QueryKeyValue to_tokens(const kernels::QueryKeyValue& of_heads,
                                   at::ScalarType dtype) const;

 private:
  static std::size_t index(int rank) { return static_cast<std::size_t>(rank); }
  std::int64_t query_width(int rank) const { return head_shares_[index(rank)].query * dim_; }
  std::int64_t kv_width(int rank) const { return head_shares_[index(rank)].key_value * dim_; }
  // Gives part i to rank i; each part that comes has its rank's [rows, columns].
  std::vector<at::Tensor> exchange(std::vector<at::Tensor> give,
                                   const std::vector<std::int64_t>& rows,
                                   const std::vector<std::int64_t>& columns) const;
  std::vector<std::int64_t> all_token_counts() const;

  Group<at::Tensor>* group_;
  std::int64_t* given_;  // bytes
  std::int64_t dim_;
  std::vector<HeadShare> head_shares_;    // by rank
  std::vector<TokenRange> token_shares_;  // by rank
  kernels::Heads own_;
};

}  // namespace infinipipe
