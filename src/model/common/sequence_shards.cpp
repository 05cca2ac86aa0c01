#include "model/common/sequence_shards.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <utility>

#include "infinipipe/base/error.h"

namespace infinipipe {

SequenceShards::SequenceShards(const kernels::Heads& heads, Group<at::Tensor>& group, Tokens tokens,
                               std::int64_t* given)
    : group_(&group), given_(given), dim_(heads.dim) {
  for (int rank = 0; rank < group.size(); ++rank) {
    head_shares_.push_back(head_share({heads.query, heads.key_value}, rank, group.size()));
    token_shares_.push_back(token_share(tokens, rank, group.size()));
  }
  const HeadShare& own = head_shares_[index(group.rank())];
  own_ = {own.query, own.key_value, heads.dim, heads.window};
}

std::vector<std::int64_t> SequenceShards::all_token_counts() const {
  std::vector<std::int64_t> counts;
  for (const TokenRange& range : token_shares_) counts.push_back(range.count());
  return counts;
}

std::vector<at::Tensor> SequenceShards::exchange(std::vector<at::Tensor> give,
                                                 const std::vector<std::int64_t>& rows,
                                                 const std::vector<std::int64_t>& columns) const {
  std::vector<std::int64_t> counts;
  for (std::size_t i = 0; i < rows.size(); ++i) counts.push_back(rows[i] * columns[i]);
  for (at::Tensor& part : give) {
    part = part.contiguous().view({-1});
    *given_ += static_cast<std::int64_t>(part.nbytes());
  }
  std::vector<at::Tensor> came = group_->exchange(std::move(give), counts);
  for (std::size_t i = 0; i < came.size(); ++i) {
    INFINIPIPE_ASSERT(came[i].numel() == counts[i], "a shard gives another number of elements");
    came[i] = came[i].view({rows[i], columns[i]});
  }
  return came;
}

kernels::QueryKeyValue SequenceShards::to_heads(const kernels::QueryKeyValue& of_tokens) const {
  std::vector<at::Tensor> give;
  for (int to = 0; to < group_->size(); ++to) {
    const HeadShare& share = head_shares_[index(to)];
    give.push_back(
        at::cat({of_tokens.query.narrow(1, share.query_begin * dim_, share.query * dim_),
                 of_tokens.key.narrow(1, share.key_value_begin * dim_, share.key_value * dim_),
                 of_tokens.value.narrow(1, share.key_value_begin * dim_, share.key_value * dim_)},
                1));
  }
  const std::int64_t query = own_.query_width();
  const std::int64_t key_value = own_.kv_width();
  const std::vector<at::Tensor> came =
      exchange(std::move(give), all_token_counts(),
               std::vector<std::int64_t>(index(group_->size()), query + 2 * key_value));
  // Ranks' tokens follow each other as they do in the chunk.
  const auto columns = [&](std::int64_t begin, std::int64_t width) {
    std::vector<at::Tensor> parts;
    for (const at::Tensor& part : came) parts.push_back(part.narrow(1, begin, width));
    return at::cat(parts, 0);
  };
  return {columns(0, query), columns(query, key_value), columns(query + key_value, key_value)};
}

at::Tensor SequenceShards::to_heads(const at::Tensor& of_tokens) const {
  std::vector<at::Tensor> give;
  for (const HeadShare& share : head_shares_)
    give.push_back(of_tokens.narrow(1, share.query_begin * dim_, share.query * dim_));
  return at::cat(exchange(std::move(give), all_token_counts(),
                          std::vector<std::int64_t>(index(group_->size()), own_.query_width())),
                 0);
}

at::Tensor SequenceShards::to_tokens(const at::Tensor& of_heads) const {
  std::vector<at::Tensor> give;
  std::vector<std::int64_t> widths;
  for (int rank = 0; rank < group_->size(); ++rank) {
    const TokenRange& range = token_shares_[index(rank)];
    give.push_back(of_heads.narrow(0, range.begin, range.count()));
    widths.push_back(query_width(rank));
  }
  // Ranks' query heads follow each other as they do in the model.
  return at::cat(
      exchange(std::move(give), std::vector<std::int64_t>(index(group_->size()), tokens().count()),
               widths),
      1);
}

kernels::QueryKeyValue SequenceShards::to_tokens(const kernels::QueryKeyValue& of_heads,
                                                 at::ScalarType dtype) const {
  std::vector<at::Tensor> give;
  std::vector<std::int64_t> widths;
  for (int rank = 0; rank < group_->size(); ++rank) {
    const TokenRange& range = token_shares_[index(rank)];
    const auto rows = [&](const at::Tensor& x) {
      return x.narrow(0, range.begin, range.count()).to(dtype);
    };
    give.push_back(at::cat({rows(of_heads.query), rows(of_heads.key), rows(of_heads.value)}, 1));
    widths.push_back(query_width(rank) + 2 * kv_width(rank));
  }
  const std::vector<at::Tensor> came = exchange(
      std::move(give), std::vector<std::int64_t>(index(group_->size()), tokens().count()), widths);
  std::vector<at::Tensor> query, key, value;
  // Ranks of one key-value head stand side by side. What came may be another's memory, so that sums
  // are new tensors.
  const auto take = [&](std::vector<at::Tensor>& parts, const at::Tensor& part, bool same_head) {
    if (!same_head) {
      parts.push_back(part);
    } else {
      parts.back() = parts.back() + part;
    }
  };
  for (int rank = 0; rank < group_->size(); ++rank) {
    const at::Tensor& part = came[index(rank)];
    const std::int64_t width = query_width(rank);
    query.push_back(part.narrow(1, 0, width));
    const bool same_head = rank > 0 && head_shares_[index(rank)].key_value_begin ==
                                           head_shares_[index(rank - 1)].key_value_begin;
    take(key, part.narrow(1, width, kv_width(rank)), same_head);
    take(value, part.narrow(1, width + kv_width(rank), kv_width(rank)), same_head);
  }
  return {at::cat(query, 1), at::cat(key, 1), at::cat(value, 1)};
}

}  // namespace infinipipe
