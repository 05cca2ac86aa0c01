#include "model/attention_tiled.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "infinipipe/base/error.h"
#include "model/blas.h"
#include "model/kernels_cpu_rows.h"

namespace infinipipe::attention_tiled {

namespace {

namespace rows = kernels::rows;
using kernels::Heads;
using kernels::QueryKeyValue;

// A tile of scores stays in a core's second-level cache, twice in the backward. Short slices take
// half the rows, so that less of their tiles lies behind the mask.
constexpr std::int64_t kTileRows = 128;
constexpr std::int64_t kTileColumns = 256;
constexpr std::int64_t kShortSlice = 1024;

std::int64_t tile_rows(const AttentionSlice& slice) {
  const bool is_short = slice.context.empty() && slice.end - slice.begin < kShortSlice;
  return is_short ? kTileRows / 2 : kTileRows;
}

// Keys that a slice attends to: a context block, or its own (causal).
template <class Scalar>
struct Keys {
  const Scalar* key;
  const Scalar* value;
  Scalar* key_grad;
  Scalar* value_grad;
  std::int64_t count;
  bool causal;
};

// All keys of a slice, context first; gradients are null in the forward.
template <class Scalar>
std::vector<Keys<Scalar>> keys_of(const AttentionSlice& slice, const QueryKeyValue& own,
                                  const QueryKeyValue* grad) {
  const auto writable = [](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.mutable_data_ptr<Scalar>() : nullptr;
  };
  std::vector<Keys<Scalar>> all;
  for (const KvBlock& block : slice.context) {
    all.push_back({block.key.const_data_ptr<Scalar>(), block.value.const_data_ptr<Scalar>(),
                   grad ? writable(block.key_grad) : nullptr,
                   grad ? writable(block.value_grad) : nullptr, block.end - block.begin, false});
  }
  const std::int64_t offset = slice.begin * own.key.size(1);
  all.push_back({own.key.const_data_ptr<Scalar>() + offset,
                 own.value.const_data_ptr<Scalar>() + offset,
                 grad ? writable(grad->key) + offset : nullptr,
                 grad ? writable(grad->value) + offset : nullptr, slice.end - slice.begin, true});
  return all;
}

// Calls tile(keys, first key, columns, visible) for every tile that queries [begin, begin + rows)
// of the slice see; row i sees the first min(columns, visible + i) keys of the tile.
template <class Scalar, class Tile>
void for_tiles(const std::vector<Keys<Scalar>>& all, std::int64_t begin, std::int64_t row_count,
               const Tile& tile) {
  for (const Keys<Scalar>& keys : all) {
    const std::int64_t limit = keys.causal ? begin + row_count : keys.count;
    for (std::int64_t first = 0; first < limit; first += kTileColumns) {
      const std::int64_t columns = std::min(kTileColumns, limit - first);
      tile(keys, first, columns, keys.causal ? begin + 1 - first : columns);
    }
  }
}

template <class Scalar>
at::Tensor scratch(std::int64_t count) {
  return at::empty({count}, at::dtype(c10::CppTypeToScalarType<Scalar>::value));
}

// Runs work(index) for [0, count), on several threads if `pairs` (query, key) pairs are worth it.
template <class Work>
void run_items(std::int64_t count, std::int64_t pairs, const Work& work) {
  constexpr std::int64_t kWorthThreads = 1 << 15;
  at::parallel_for(0, count, pairs < kWorthThreads ? count : 1, work);
}

std::int64_t pair_count(std::span<const AttentionSlice> slices) {
  std::int64_t pairs = 0;
  for (const AttentionSlice& slice : slices) {
    std::int64_t keys = slice.end - slice.begin;
    for (const KvBlock& block : slice.context) keys += block.end - block.begin;
    pairs += keys * (slice.end - slice.begin);
  }
  return pairs;
}

template <class Scalar>
void forward_typed(const Heads& heads, const QueryKeyValue& inputs,
                   std::span<const AttentionSlice> slices, AttentionResult& result) {
  struct Item {
    std::size_t slice;
    std::int64_t head;
    std::int64_t begin;  // first query of the tile, in the slice
  };
  std::vector<Item> items;
  for (std::int64_t head = 0; head < heads.query; ++head)
    for (std::size_t s = 0; s < slices.size(); ++s)
      for (std::int64_t q = 0; q < slices[s].end - slices[s].begin; q += tile_rows(slices[s]))
        items.push_back({s, head, q});
  std::vector<std::vector<Keys<Scalar>>> keys_by_slice;
  for (const AttentionSlice& slice : slices)
    keys_by_slice.push_back(keys_of<Scalar>(slice, inputs, nullptr));

  const auto* query = inputs.query.const_data_ptr<Scalar>();
  auto* output = result.output.mutable_data_ptr<Scalar>();
  auto* lse = result.lse.mutable_data_ptr<Scalar>();
  const std::int64_t dim = heads.dim, width = heads.query_width(), kv = heads.kv_width();
  const double exact_scale = 1.0 / std::sqrt(static_cast<double>(dim));
  const auto scale2 = static_cast<Scalar>(exact_scale * std::numbers::log2e);  // scores / ln 2
  run_items(static_cast<std::int64_t>(items.size()), pair_count(slices) * heads.query,
            [&](std::int64_t from, std::int64_t to) {
              const at::Tensor buffer = scratch<Scalar>(kTileRows * (kTileColumns + 2));
              auto* scores = buffer.mutable_data_ptr<Scalar>();
              Scalar* maximum = scores + kTileRows * kTileColumns;
              Scalar* sum = maximum + kTileRows;
              for (std::int64_t i = from; i < to; ++i) {
                const Item& item = items[static_cast<std::size_t>(i)];
                const AttentionSlice& slice = slices[item.slice];
                const std::int64_t count =
                    std::min(tile_rows(slice), slice.end - slice.begin - item.begin);
                const std::int64_t row = slice.begin + item.begin;
                const Scalar* q = query + row * width + item.head * dim;
                Scalar* out = output + row * width + item.head * dim;
                const std::int64_t column = item.head * heads.key_value / heads.query * dim;
                std::fill_n(maximum, count, -std::numeric_limits<Scalar>::infinity());
                std::fill_n(sum, count, Scalar(0));
                bool first_tile = true;
                for_tiles(keys_by_slice[item.slice], item.begin, count,
                          [&](const Keys<Scalar>& keys, std::int64_t first, std::int64_t columns,
                              std::int64_t visible) {
                            const std::int64_t at = first * kv + column;
                            blas::multiply({count, columns, dim, false, true}, scale2, q, width,
                                           keys.key + at, kv, Scalar(0), scores, columns);
                            rows::softmax_tile(scores, count, columns, visible, maximum, sum, out,
                                               width, first_tile ? 0 : dim);
                            blas::multiply({count, dim, columns}, Scalar(1), scores, columns,
                                           keys.value + at, kv, Scalar(first_tile ? 0 : 1), out,
                                           width);
                            first_tile = false;
                          });
                rows::softmax_end(count, maximum, sum, out, width, dim,
                                  lse + row * heads.query + item.head, heads.query);
              }
            });
}

template <class Scalar>
void backward_typed(const Heads& heads, const at::Tensor& output_grad, const QueryKeyValue& saved,
                    const AttentionResult& result, std::span<AttentionSlice> slices,
                    const QueryKeyValue& grad) {
  std::vector<std::vector<Keys<Scalar>>> keys_by_slice;
  for (const AttentionSlice& slice : slices)
    keys_by_slice.push_back(keys_of<Scalar>(slice, saved, &grad));
  const auto* query = saved.query.const_data_ptr<Scalar>();
  const auto* output = result.output.const_data_ptr<Scalar>();
  const auto* incoming = output_grad.const_data_ptr<Scalar>();
  const auto* lse = result.lse.const_data_ptr<Scalar>();
  auto* query_grad = grad.query.mutable_data_ptr<Scalar>();
  const std::int64_t dim = heads.dim, width = heads.query_width(), kv = heads.kv_width();
  const std::int64_t group = heads.query / heads.key_value;
  const double exact_scale = 1.0 / std::sqrt(static_cast<double>(dim));
  const auto scale = static_cast<Scalar>(exact_scale);
  const auto scale2 = static_cast<Scalar>(exact_scale * std::numbers::log2e);

  // One owner for each head's key and value gradients: an item is (key head, slice).
  const auto slice_count = static_cast<std::int64_t>(slices.size());
  run_items(
      heads.key_value * slice_count, pair_count(slices) * heads.query,
      [&](std::int64_t from, std::int64_t to) {
        const at::Tensor buffer = scratch<Scalar>(kTileRows * (2 * kTileColumns + 1));
        auto* scores = buffer.mutable_data_ptr<Scalar>();
        Scalar* scores_grad = scores + kTileRows * kTileColumns;
        Scalar* delta = scores_grad + kTileRows * kTileColumns;
        for (std::int64_t i = from; i < to; ++i) {
          const auto s = static_cast<std::size_t>(i % slice_count);
          const std::int64_t kv_head = i / slice_count, column = kv_head * dim;
          const std::int64_t length = slices[s].end - slices[s].begin;
          for (std::int64_t member = 0; member < group * length;) {
            const std::int64_t head = kv_head * group + member / length, begin = member % length;
            const std::int64_t count = std::min(tile_rows(slices[s]), length - begin);
            member += count;
            const std::int64_t row = slices[s].begin + begin, at = row * width + head * dim;
            const Scalar* q = query + at;
            const Scalar* out_grad = incoming + at;
            for (std::int64_t r = 0; r < count; ++r)
              delta[r] = rows::dot(out_grad + r * width, output + at + r * width, dim);
            bool first_tile = true;
            for_tiles(
                keys_by_slice[s], begin, count,
                [&](const Keys<Scalar>& keys, std::int64_t first, std::int64_t columns,
                    std::int64_t visible) {
                  const std::int64_t key_at = first * kv + column;
                  blas::multiply({count, columns, dim, false, true}, scale2, q, width,
                                 keys.key + key_at, kv, Scalar(0), scores, columns);
                  rows::probability_tile(scores, count, columns, visible,
                                         lse + row * heads.query + head, heads.query);
                  blas::multiply({columns, dim, count, true, false}, Scalar(1), scores, columns,
                                 out_grad, width, Scalar(1), keys.value_grad + key_at, kv);
                  blas::multiply({count, columns, dim, false, true}, Scalar(1), out_grad, width,
                                 keys.value + key_at, kv, Scalar(0), scores_grad, columns);
                  rows::score_grad_tile(scores, scores_grad, count, columns, delta);
                  blas::multiply({count, dim, columns}, scale, scores_grad, columns,
                                 keys.key + key_at, kv, Scalar(first_tile ? 0 : 1), query_grad + at,
                                 width);
                  blas::multiply({columns, dim, count, true, false}, scale, scores_grad, columns, q,
                                 width, Scalar(1), keys.key_grad + key_at, kv);
                  first_tile = false;
                });
          }
        }
      });
}

// The accumulator that starts a gradient's rows: zero, or what later slices added.
at::Tensor started(const at::Tensor& like, std::span<AttentionSlice> slices,
                   at::Tensor AttentionSlice::*member) {
  if (slices.size() == 1 && (slices[0].*member).defined())
    return std::exchange(slices[0].*member, at::Tensor());
  at::Tensor grad = at::zeros(like.sizes(), like.options());
  for (AttentionSlice& slice : slices) {
    if (!(slice.*member).defined()) continue;
    grad.narrow(0, slice.begin, slice.end - slice.begin).copy_(slice.*member);
    (slice.*member).reset();
  }
  return grad;
}

}  // namespace

bool available() { return blas::available(); }

AttentionResult forward(const Heads& heads, const QueryKeyValue& inputs,
                        std::span<const AttentionSlice> slices) {
  AttentionResult result{at::empty(inputs.query.sizes(), inputs.query.options()),
                         at::empty({inputs.query.size(0), heads.query}, inputs.query.options())};
  if (inputs.query.scalar_type() == at::kDouble) {
    forward_typed<double>(heads, inputs, slices, result);
  } else {
    forward_typed<float>(heads, inputs, slices, result);
  }
  return result;
}

QueryKeyValue backward(const Heads& heads, const at::Tensor& output_grad,
                       const QueryKeyValue& saved, const AttentionResult& result,
                       std::span<AttentionSlice> slices) {
  const QueryKeyValue grad{at::empty(saved.query.sizes(), saved.query.options()),
                           started(saved.key, slices, &AttentionSlice::key_grad),
                           started(saved.value, slices, &AttentionSlice::value_grad)};
  for (AttentionSlice& slice : slices) {
    for (KvBlock& block : slice.context) {
      if (block.key_grad.defined()) continue;
      block.key_grad = at::zeros(block.key.sizes(), block.key.options());
      block.value_grad = at::zeros(block.value.sizes(), block.value.options());
    }
  }
  if (saved.query.scalar_type() == at::kDouble) {
    backward_typed<double>(heads, output_grad, saved, result, slices, grad);
  } else {
    backward_typed<float>(heads, output_grad, saved, result, slices, grad);
  }
  return grad;
}

}  // namespace infinipipe::attention_tiled
