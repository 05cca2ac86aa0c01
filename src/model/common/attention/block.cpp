#include "model/common/attention/block.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/flip.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "model/common/parameters.h"

namespace infinipipe::attention_block {

namespace {

// Context blocks with fewer keys than this are joined before they are computed: a call has its
// cost.
constexpr std::int64_t kSmallBlock = 256;

Forward forward_block(const Inputs& inputs) {
  return inputs.query.device().is_cpu() ? forward_cpu(inputs) : forward_cuda(inputs);
}

Backward backward_block(const Inputs& inputs, const Forward& joined,
                        const at::Tensor& output_grad) {
  return inputs.query.device().is_cpu() ? backward_cpu(inputs, joined, output_grad)
                                        : backward_cuda(inputs, joined, output_grad);
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

// In groups of at most `most` keys, or a little more where small blocks are joined: what a call
// holds for itself then does not grow with other chunks' slices.
std::vector<Group> group(std::span<const KvBlock> context, std::int64_t most) {
  std::vector<Group> groups;
  for (std::size_t i = 0; i < context.size(); ++i) {
    const std::int64_t size = context[i].end - context[i].begin;
    if (size > most) {
      const std::int64_t parts = (size + most - 1) / most;
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
void join(Forward& total, const Forward& part) {
  const at::Tensor difference = part.lse - total.lse;
  total.output.sub_((total.output - part.output) * at::sigmoid(difference).unsqueeze(2));
  total.lse.sub_(at::log_sigmoid(-difference));
}

Forward slice_forward(const Inputs& own, std::span<const KvBlock> context, std::int64_t most) {
  Forward total = forward_block(own);
  const auto type = own.query.scalar_type();
  total.output = total.output.to(accumulate_dtype(type));
  for (const Group& each : group(context, most)) {
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
void context_backward(const Inputs& own, const Forward& result, const at::Tensor& output_grad,
                      std::span<KvBlock> context, std::int64_t most, at::Tensor& query_grad) {
  const auto acc = accumulate_dtype(own.query.scalar_type());
  for (const Group& each : group(context, most)) {
    const auto blocks = context.subspan(each.first, each.last - each.first);
    const Backward part =
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

// --- with a sliding window ---------------------------------------------------------------------

// A part of a slice's attention that needs no mask but the causal one: queries [row, row + rows) of
// the slice against keys [key, key + keys).
struct Piece {
  enum class Mask {
    kCausal,    // query i of the piece sees its keys j <= i
    kFull,      // each query sees each key
    kReversed,  // query i sees its keys j >= i: causal, once both are reversed
  };
  Mask mask;
  std::int64_t row, rows, key, keys;
};

// The pieces of `rows` queries that stand behind `before` < window keys. Queries whose window
// reaches the first key see all before them. The others are taken in blocks of at most `window`: a
// block's own keys are causal; of those before it the last window - block are seen by all, and the
// block - 1 before these by ever fewer. A row's first piece is a causal one.
std::vector<Piece> windowed_pieces(std::int64_t rows, std::int64_t before, std::int64_t window) {
  std::vector<Piece> pieces;
  const auto add = [&](Piece::Mask mask, std::int64_t row, std::int64_t count, std::int64_t key,
                       std::int64_t keys) {
    if (count > 0 && keys > 0) pieces.push_back({mask, row, count, key, keys});
  };
  const std::int64_t first = std::min(rows, window - before);
  add(Piece::Mask::kCausal, 0, first, before, first);
  add(Piece::Mask::kFull, 0, first, 0, before);
  for (std::int64_t row = first; row < rows;) {
    const std::int64_t block = std::min(window, rows - row);
    const std::int64_t own = before + row;
    add(Piece::Mask::kCausal, row, block, own, block);
    add(Piece::Mask::kFull, row, block, own - (window - block), window - block);
    add(Piece::Mask::kReversed, row, block - 1, own - window + 1, block - 1);
    row += block;
  }
  return pieces;
}

// A slice with the keys that its queries see, in one run.
struct WindowedSlice {
  std::int64_t before = 0;  // keys of the context among them
  at::Tensor query, key, value;
};

WindowedSlice windowed(const Inputs& own, std::span<const KvBlock> context, std::int64_t window) {
  std::vector<at::Tensor> keys, values;
  std::int64_t before = 0;
  for (const KvBlock& block : context) {
    const std::int64_t size = block.end - block.begin;
    const std::int64_t seen =
        std::clamp<std::int64_t>(block.end - (context.back().end - window + 1), 0, size);
    if (seen == 0) continue;
    keys.push_back(split_heads(block.key.narrow(0, size - seen, seen), own.query.size(2)));
    values.push_back(split_heads(block.value.narrow(0, size - seen, seen), own.query.size(2)));
    before += seen;
  }
  if (before == 0) return {0, own.query, own.key, own.value};
  keys.push_back(own.key);
  values.push_back(own.value);
  return {before, own.query, at::cat(keys, 0), at::cat(values, 0)};
}

// Rows of x as the piece's kernel takes them, and back.
at::Tensor taken(const at::Tensor& x, const Piece& piece, bool key) {
  const at::Tensor part =
      key ? x.narrow(0, piece.key, piece.keys) : x.narrow(0, piece.row, piece.rows);
  return piece.mask == Piece::Mask::kReversed ? part.flip({0}) : part;
}
at::Tensor given_back(const at::Tensor& x, const Piece& piece) {
  return piece.mask == Piece::Mask::kReversed ? x.flip({0}) : x;
}

Inputs inputs_of(const WindowedSlice& slice, const Piece& piece) {
  return {taken(slice.query, piece, false), taken(slice.key, piece, true),
          taken(slice.value, piece, true), piece.mask != Piece::Mask::kFull};
}

Forward windowed_forward(const WindowedSlice& slice, std::int64_t window) {
  const auto type = slice.query.scalar_type();
  const auto options = slice.query.options().dtype(accumulate_dtype(type));
  const std::int64_t rows = slice.query.size(0);
  Forward total{at::empty(slice.query.sizes(), options),
                at::empty({rows, slice.query.size(1)}, options)};
  std::int64_t joined_rows = 0;
  for (const Piece& piece : windowed_pieces(rows, slice.before, window)) {
    const Forward part = forward_block(inputs_of(slice, piece));
    Forward rows_of_total{total.output.narrow(0, piece.row, piece.rows),
                          total.lse.narrow(0, piece.row, piece.rows)};
    if (piece.row >= joined_rows) {
      rows_of_total.output.copy_(part.output);
      rows_of_total.lse.copy_(part.lse);
      joined_rows = piece.row + piece.rows;
    } else {
      join(rows_of_total, {given_back(part.output, piece), given_back(part.lse, piece)});
    }
  }
  total.output = total.output.to(type);
  return total;
}

// Gradients in acc; those of the context's keys are added to its blocks.
Backward windowed_backward(const Inputs& own, const Forward& joint, const at::Tensor& output_grad,
                           std::span<KvBlock> context, std::int64_t window) {
  const WindowedSlice slice = windowed(own, context, window);
  const auto acc = accumulate_dtype(own.query.scalar_type());
  const auto zeros = [acc](const at::Tensor& like) {
    return at::zeros(like.sizes(), like.options().dtype(acc));
  };
  Backward sum{zeros(slice.query), zeros(slice.key), zeros(slice.value)};
  for (const Piece& piece : windowed_pieces(slice.query.size(0), slice.before, window)) {
    const Forward rows{taken(joint.output, piece, false), taken(joint.lse, piece, false)};
    const Backward part =
        backward_block(inputs_of(slice, piece), rows, taken(output_grad, piece, false));
    sum.query.narrow(0, piece.row, piece.rows).add_(given_back(part.query, piece));
    sum.key.narrow(0, piece.key, piece.keys).add_(given_back(part.key, piece));
    sum.value.narrow(0, piece.key, piece.keys).add_(given_back(part.value, piece));
  }
  std::int64_t end = slice.before;
  for (std::size_t i = context.size(); i-- > 0 && end > 0;) {
    KvBlock& block = context[i];
    const std::int64_t size = block.end - block.begin, seen = std::min(end, size);
    end -= seen;
    const auto rows = [&](const at::Tensor& x) { return x.narrow(0, end, seen).flatten(1); };
    add_to_rows(block.key_grad, rows(sum.key), block.key, size - seen, acc);
    add_to_rows(block.value_grad, rows(sum.value), block.value, size - seen, acc);
  }
  const std::int64_t own_rows = own.key.size(0);
  sum.key = sum.key.narrow(0, slice.before, own_rows);
  sum.value = sum.value.narrow(0, slice.before, own_rows);
  return sum;
}

// --- a chunk ------------------------------------------------------------------------------------

Inputs sequence_of(const Packed& packed, std::size_t i) {
  const auto rows = [&](const at::Tensor& x) {
    return x.narrow(0, packed.bounds[i], packed.bounds[i + 1] - packed.bounds[i]);
  };
  return {rows(packed.query), rows(packed.key), rows(packed.value), true};
}

Forward forward_packed(const Packed& packed) {
  if (has_packed_call(packed)) return forward_packed_cuda(packed);
  const auto acc = accumulate_dtype(packed.query.scalar_type());
  const std::int64_t rows = packed.query.size(0), heads = packed.query.size(1);
  Forward all{at::empty(packed.query.sizes(), packed.query.options()),
              at::empty({rows, heads}, packed.query.options().dtype(acc))};
  for (std::size_t i = 0; i + 1 < packed.bounds.size(); ++i) {
    const Inputs own = sequence_of(packed, i);
    const Forward one = forward_block(own);
    all.output.narrow(0, packed.bounds[i], own.query.size(0)).copy_(one.output);
    all.lse.narrow(0, packed.bounds[i], own.query.size(0)).copy_(one.lse);
  }
  return all;
}

Backward backward_packed(const Packed& packed, const Forward& joint,
                         const at::Tensor& output_grad) {
  if (has_packed_call(packed)) return backward_packed_cuda(packed, joint, output_grad);
  Backward all{at::empty(packed.query.sizes(), packed.query.options()),
               at::empty(packed.key.sizes(), packed.key.options()),
               at::empty(packed.value.sizes(), packed.value.options())};
  for (std::size_t i = 0; i + 1 < packed.bounds.size(); ++i) {
    const Inputs own = sequence_of(packed, i);
    const auto rows = [&](const at::Tensor& x) {
      return x.narrow(0, packed.bounds[i], own.query.size(0));
    };
    const Backward one =
        backward_block(own, {rows(joint.output), rows(joint.lse)}, rows(output_grad));
    rows(all.query).copy_(one.query);
    rows(all.key).copy_(one.key);
    rows(all.value).copy_(one.value);
  }
  return all;
}

// Neighbouring slices that are computed together, and their rows.
struct Run {
  std::size_t first;
  std::size_t last;
  std::int64_t begin;
  std::int64_t end;
  bool plain;  // causal, and nothing else
};

template <class Slice>
std::vector<Run> runs_of(std::span<Slice> slices, std::int64_t window) {
  std::vector<Run> runs;
  for (std::size_t i = 0; i < slices.size(); ++i) {
    const AttentionSlice& slice = slices[i];
    const bool plain = slice.context.empty() && (window == 0 || slice.end - slice.begin <= window);
    if (plain && !runs.empty() && runs.back().plain) {
      runs.back().last = i + 1;
      runs.back().end = slice.end;
    } else {
      runs.push_back({i, i + 1, slice.begin, slice.end, plain});
    }
  }
  return runs;
}

Packed packed_of(const Inputs& own, std::span<const AttentionSlice> slices) {
  Packed packed{own.query, own.key, own.value, {0}};
  for (const AttentionSlice& slice : slices)
    packed.bounds.push_back(slice.end - slices.front().begin);
  return packed;
}

// Some rows add up several parts, so that gradients are in acc.
bool adds_up(std::span<const Run> runs, std::span<const AttentionSlice> slices) {
  return std::ranges::any_of(runs, [](const Run& run) { return !run.plain; }) ||
         std::ranges::any_of(slices, [](const auto& slice) { return slice.key_grad.defined(); });
}

// The rows of a gradient that adds up: what later slices added, where that is all of it.
at::Tensor begun(const at::Tensor& like, std::span<AttentionSlice> slices,
                 at::Tensor AttentionSlice::*member) {
  if (slices.size() == 1 && (slices[0].*member).defined())
    return std::exchange(slices[0].*member, at::Tensor());
  at::Tensor grad =
      at::zeros(like.sizes(), like.options().dtype(accumulate_dtype(like.scalar_type())));
  for (AttentionSlice& slice : slices) {
    const at::Tensor later = std::exchange(slice.*member, at::Tensor());
    if (later.defined()) grad.narrow(0, slice.begin, slice.end - slice.begin).copy_(later);
  }
  return grad;
}

}  // namespace

AttentionResult forward(const ComputePath& path, const kernels::Heads& heads,
                        const kernels::QueryKeyValue& qkv, std::span<const AttentionSlice> slices) {
  const auto& [query, key, value] = qkv;
  const auto attend = [&](const Run& run) {
    const auto part = [&](const at::Tensor& x) {
      return split_heads(x.narrow(0, run.begin, run.end - run.begin), heads.dim);
    };
    const Inputs own{part(query), part(key), part(value), true};
    const auto its = slices.subspan(run.first, run.last - run.first);
    if (its.size() > 1) return forward_packed(packed_of(own, its));
    if (run.plain) return forward_block(own);
    if (heads.window > 0)
      return windowed_forward(windowed(own, its[0].context, heads.window), heads.window);
    return slice_forward(own, its[0].context, path.attention_keys);
  };
  const std::vector<Run> runs = runs_of(slices, heads.window);
  if (runs.size() == 1 && runs[0].plain) {
    const Forward only = attend(runs[0]);
    return {only.output.reshape(query.sizes()), only.lse.contiguous()};
  }
  // There from the start, so that a slice with a context holds alike alone and beside others.
  AttentionResult result{at::empty(query.sizes(), query.options()),
                         at::empty({query.size(0), heads.query},
                                   query.options().dtype(accumulate_dtype(query.scalar_type())))};
  for (const Run& run : runs) {
    const Forward part = attend(run);
    const std::int64_t size = run.end - run.begin;
    split_heads(result.output.narrow(0, run.begin, size), heads.dim).copy_(part.output);
    result.lse.narrow(0, run.begin, size).copy_(part.lse);
  }
  return result;
}

kernels::QueryKeyValue backward(const ComputePath& path, const kernels::Heads& heads,
                                const at::Tensor& output_grad, const kernels::QueryKeyValue& saved,
                                const AttentionResult& result, std::span<AttentionSlice> slices) {
  const std::vector<Run> runs = runs_of(slices, heads.window);
  const bool sums = adds_up(runs, slices);
  kernels::QueryKeyValue grad;
  if (sums) {
    const auto acc = accumulate_dtype(saved.query.scalar_type());
    grad = {at::empty(saved.query.sizes(), saved.query.options().dtype(acc)),
            begun(saved.key, slices, &AttentionSlice::key_grad),
            begun(saved.value, slices, &AttentionSlice::value_grad)};
  }
  for (const Run& run : runs) {
    const auto part = [&](const at::Tensor& x) {
      return split_heads(x.narrow(0, run.begin, run.end - run.begin), heads.dim);
    };
    const Inputs own{part(saved.query), part(saved.key), part(saved.value), true};
    const Forward joint{part(result.output), result.lse.narrow(0, run.begin, run.end - run.begin)};
    const at::Tensor incoming = part(output_grad);
    const auto its = slices.subspan(run.first, run.last - run.first);
    Backward own_grad;
    if (its.size() > 1) {
      own_grad = backward_packed(packed_of(own, its), joint, incoming);
    } else if (!run.plain && heads.window > 0) {
      own_grad = windowed_backward(own, joint, incoming, its[0].context, heads.window);
    } else {
      own_grad = backward_block(own, joint, incoming);
    }
    if (!sums) {  // then one run is all
      return {own_grad.query.reshape(saved.query.sizes()), own_grad.key.reshape(saved.key.sizes()),
              own_grad.value.reshape(saved.value.sizes())};
    }
    at::Tensor query_grad = part(grad.query);
    query_grad.copy_(own_grad.query);
    part(grad.key).add_(own_grad.key);
    part(grad.value).add_(own_grad.value);
    own_grad = {};
    if (!run.plain && heads.window == 0)
      context_backward(own, joint, incoming, its[0].context, path.attention_keys, query_grad);
  }
  return grad;
}

}  // namespace infinipipe::attention_block
