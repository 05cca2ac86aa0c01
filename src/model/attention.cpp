#include "model/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/zeros.h>

#include "infinipipe/base/error.h"
#include "model/attention_tiled.h"
#include "model/parameters.h"

namespace infinipipe {

namespace {

namespace block = attention_block;
using block::Inputs;

// Context blocks with fewer keys than this are joined before they are computed: a call has its
// cost.
constexpr std::int64_t kSmallBlock = 256;
// On the processor larger blocks are computed in parts of at most so many keys, so that what a call
// holds for itself does not grow with other chunks' slices. A GPU is only busy with whole ones.
constexpr std::int64_t kLargeBlock = 512;

block::Forward forward_block(const Inputs& inputs) {
  return inputs.query.device().is_cpu() ? block::forward_cpu(inputs) : block::forward_cuda(inputs);
}

block::Backward backward_block(const Inputs& inputs, const block::Forward& joined,
                               const at::Tensor& output_grad) {
  return inputs.query.device().is_cpu() ? block::backward_cpu(inputs, joined, output_grad)
                                        : block::backward_cuda(inputs, joined, output_grad);
}

at::Tensor split_heads(const at::Tensor& x, std::int64_t dim) {
  return x.view({x.size(0), x.size(1) / dim, dim});
}

// Keys that are computed together: of neighbouring context blocks [first, last), all of them, or of
// one block rows [row, row + rows).
struct Group {
  std::size_t first;
  std::size_t last;
  std::int64_t row = 0;
  std::int64_t rows = 0;  // of all its blocks
  bool whole = true;
};

std::vector<Group> group(std::span<const KvBlock> context, bool in_parts) {
  std::vector<Group> groups;
  for (std::size_t i = 0; i < context.size(); ++i) {
    const std::int64_t size = context[i].end - context[i].begin;
    if (in_parts && size > kLargeBlock) {
      const std::int64_t parts = (size + kLargeBlock - 1) / kLargeBlock;
      for (std::int64_t p = 0; p < parts; ++p) {
        const std::int64_t row = size * p / parts;
        groups.push_back({i, i + 1, row, size * (p + 1) / parts - row, false});
      }
    } else if (!groups.empty() && groups.back().whole && groups.back().rows < kSmallBlock) {
      groups.back().last = i + 1;
      groups.back().rows += size;
    } else {
      groups.push_back({i, i + 1, 0, size});
    }
  }
  return groups;
}

at::Tensor joined(std::span<const KvBlock> blocks, at::Tensor KvBlock::*member) {
  if (blocks.size() == 1) return blocks[0].*member;
  std::vector<at::Tensor> parts;
  for (const KvBlock& each : blocks) parts.push_back(each.*member);
  return at::cat(parts, 0);
}

Inputs context_inputs(const at::Tensor& query, std::span<const KvBlock> context,
                      const Group& group) {
  const auto blocks = context.subspan(group.first, group.last - group.first);
  const auto rows = [&](at::Tensor KvBlock::*member) {
    return split_heads(joined(blocks, member).narrow(0, group.row, group.rows), query.size(2));
  };
  return {query, rows(&KvBlock::key), rows(&KvBlock::value), false};
}

// Joins two partial softmaxes over disjoint keys, in acc.
void join(block::Forward& total, const block::Forward& part) {
  const at::Tensor difference = part.lse - total.lse;
  total.output.sub_((total.output - part.output) * at::sigmoid(difference).unsqueeze(2));
  total.lse.sub_(at::log_sigmoid(-difference));
}

block::Forward slice_forward(const Inputs& own, std::span<const KvBlock> context) {
  block::Forward total = forward_block(own);
  if (context.empty()) return total;
  const auto type = own.query.scalar_type();
  total.output = total.output.to(accumulate_dtype(type));
  for (const Group& each : group(context, own.query.device().is_cpu())) {
    join(total, forward_block(context_inputs(own.query, context, each)));
  }
  total.output = total.output.to(type);
  return total;
}

// A first part becomes the sum itself, unless it is a view of something larger.
void add_to(at::Tensor& sum, const at::Tensor& part, at::ScalarType acc) {
  if (sum.defined()) {
    sum.add_(part);
    return;
  }
  sum = part.to(acc).contiguous();
  if (sum.nbytes() < sum.storage().nbytes()) sum = sum.clone();
}

// The same for rows from `row` on of a sum of like's shape.
void add_to_rows(at::Tensor& sum, const at::Tensor& part, const at::Tensor& like, std::int64_t row,
                 at::ScalarType acc) {
  if (!sum.defined()) sum = at::zeros(like.sizes(), like.options().dtype(acc));
  sum.narrow(0, row, part.size(0)).add_(part);
}

// The context's share of a slice's backward: adds to query_grad (acc) and to the blocks.
void context_backward(const Inputs& own, const block::Forward& result,
                      const at::Tensor& output_grad, std::span<KvBlock> context,
                      at::Tensor& query_grad) {
  const auto acc = accumulate_dtype(own.query.scalar_type());
  for (const Group& each : group(context, own.query.device().is_cpu())) {
    const auto blocks = context.subspan(each.first, each.last - each.first);
    const block::Backward part =
        backward_block(context_inputs(own.query, context, each), result, output_grad);
    query_grad.add_(part.query);
    const at::Tensor key = part.key.flatten(1), value = part.value.flatten(1);
    if (!each.whole) {
      add_to_rows(blocks[0].key_grad, key, blocks[0].key, each.row, acc);
      add_to_rows(blocks[0].value_grad, value, blocks[0].value, each.row, acc);
      continue;
    }
    std::int64_t row = 0;
    for (KvBlock& target : blocks) {
      const std::int64_t size = target.end - target.begin;
      add_to(target.key_grad, key.narrow(0, row, size), acc);
      add_to(target.value_grad, value.narrow(0, row, size), acc);
      row += size;
    }
  }
}

}  // namespace

AttentionResult attention_forward(const kernels::Heads& heads, const at::Tensor& query,
                                  const at::Tensor& key, const at::Tensor& value,
                                  std::span<const AttentionSlice> slices) {
  return query.device().is_cpu() ? attention_tiled::forward(heads, {query, key, value}, slices)
                                 : attention_block::forward(heads, {query, key, value}, slices);
}

kernels::QueryKeyValue attention_backward(const kernels::Heads& heads,
                                          const at::Tensor& output_grad,
                                          const kernels::QueryKeyValue& saved,
                                          const AttentionResult& result,
                                          std::span<AttentionSlice> slices) {
  return saved.query.device().is_cpu()
             ? attention_tiled::backward(heads, output_grad, saved, result, slices)
             : attention_block::backward(heads, output_grad, saved, result, slices);
}

namespace attention_block {

AttentionResult forward(const kernels::Heads& heads, const kernels::QueryKeyValue& qkv,
                        std::span<const AttentionSlice> slices) {
  const auto& [query, key, value] = qkv;
  const auto inputs = [&](const AttentionSlice& slice) {
    const auto part = [&](const at::Tensor& x) {
      return split_heads(x.narrow(0, slice.begin, slice.end - slice.begin), heads.dim);
    };
    return Inputs{part(query), part(key), part(value), true};
  };
  if (slices.size() == 1) {
    const block::Forward only = slice_forward(inputs(slices[0]), slices[0].context);
    return {only.output.reshape(query.sizes()), only.lse.contiguous()};
  }
  AttentionResult result{at::empty(query.sizes(), query.options()),
                         at::empty({query.size(0), heads.query},
                                   query.options().dtype(accumulate_dtype(query.scalar_type())))};
  for (const AttentionSlice& slice : slices) {
    const block::Forward part = slice_forward(inputs(slice), slice.context);
    const std::int64_t size = slice.end - slice.begin;
    split_heads(result.output.narrow(0, slice.begin, size), heads.dim).copy_(part.output);
    result.lse.narrow(0, slice.begin, size).copy_(part.lse);
  }
  return result;
}

kernels::QueryKeyValue backward(const kernels::Heads& heads, const at::Tensor& output_grad,
                                const kernels::QueryKeyValue& saved, const AttentionResult& result,
                                std::span<AttentionSlice> slices) {
  const auto type = saved.query.scalar_type();
  const auto acc = accumulate_dtype(type);
  bool sums = false;  // some slice adds up several parts
  for (const AttentionSlice& slice : slices)
    sums = sums || !slice.context.empty() || slice.key_grad.defined();

  kernels::QueryKeyValue grad;
  for (AttentionSlice& slice : slices) {
    const std::int64_t size = slice.end - slice.begin;
    const auto rows = [&](const at::Tensor& x) { return x.narrow(0, slice.begin, size); };
    const auto part = [&](const at::Tensor& x) { return split_heads(rows(x), heads.dim); };
    const Inputs own{part(saved.query), part(saved.key), part(saved.value), true};
    const block::Forward joint{part(result.output), rows(result.lse)};
    const at::Tensor incoming = part(output_grad);
    block::Backward own_grad = backward_block(own, joint, incoming);
    if (!slice.context.empty()) {
      own_grad.query = own_grad.query.to(acc);
      context_backward(own, joint, incoming, slice.context, own_grad.query);
    }
    if (slice.key_grad.defined()) {
      own_grad.key = slice.key_grad.view(own.key.sizes()).add_(own_grad.key);
      own_grad.value = slice.value_grad.view(own.value.sizes()).add_(own_grad.value);
      slice.key_grad.reset();
      slice.value_grad.reset();
    }
    if (slices.size() == 1) {
      const auto final_type = sums ? acc : type;
      return {own_grad.query.to(final_type).reshape(saved.query.sizes()),
              own_grad.key.to(final_type).reshape(saved.key.sizes()),
              own_grad.value.to(final_type).reshape(saved.value.sizes())};
    }
    if (!grad.query.defined()) {
      const auto options = saved.query.options().dtype(sums ? acc : type);
      grad = {at::empty(saved.query.sizes(), options), at::empty(saved.key.sizes(), options),
              at::empty(saved.value.sizes(), options)};
    }
    part(grad.query).copy_(own_grad.query);
    part(grad.key).copy_(own_grad.key);
    part(grad.value).copy_(own_grad.value);
  }
  return grad;
}

}  // namespace attention_block

}  // namespace infinipipe
