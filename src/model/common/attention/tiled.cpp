#include "model/common/attention/tiled.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <type_traits>
#include <utility>
#include <vector>

#include "model/common/attention/kernels.h"
#include "model/common/parameters.h"

namespace infinipipe::attention_tiled {

namespace {

using attention_kernels::BackwardItem;
using attention_kernels::ForwardItem;
using attention_kernels::Item;
using attention_kernels::Kernels;
using attention_kernels::Keys;
using attention_kernels::Narrow;
using kernels::Heads;
using kernels::QueryKeyValue;

// The numbers of a saved tensor.
template <class In>
const In* stored(const at::Tensor& tensor) {
  if constexpr (std::is_same_v<In, Narrow>) {
    static_assert(sizeof(Narrow) == sizeof(at::BFloat16));
    return reinterpret_cast<const Narrow*>(tensor.const_data_ptr<at::BFloat16>());
  } else {
    return tensor.const_data_ptr<In>();
  }
}

template <class In>
In* written(const at::Tensor& tensor) {
  if constexpr (std::is_same_v<In, Narrow>) {
    return reinterpret_cast<Narrow*>(tensor.mutable_data_ptr<at::BFloat16>());
  } else {
    return tensor.mutable_data_ptr<In>();
  }
}

// All keys that a slice attends to, of key head 0, context first; gradients are null in the
// forward.
template <class Scalar, class In>
std::vector<Keys<Scalar, In>> keys_of(const AttentionSlice& slice, const QueryKeyValue& own,
                                      const QueryKeyValue* grad, Tokens window) {
  const auto writable = [grad](const at::Tensor& tensor) {
    return grad != nullptr ? tensor.mutable_data_ptr<Scalar>() : nullptr;
  };
  // Of keys that begin so many tokens before the slice.
  const auto hidden = [window](Tokens before) {
    return window > 0 ? before - window + 1 : attention_kernels::kNoWindow;
  };
  std::vector<Keys<Scalar, In>> all;
  for (const KvBlock& block : slice.context) {
    all.push_back({stored<In>(block.key), stored<In>(block.value), writable(block.key_grad),
                   writable(block.value_grad), block.end - block.begin, false,
                   hidden(slice.context.back().end - block.begin)});
  }
  const std::int64_t offset = slice.begin * own.key.size(1);
  Keys<Scalar, In> last{stored<In>(own.key) + offset,
                        stored<In>(own.value) + offset,
                        nullptr,
                        nullptr,
                        slice.end - slice.begin,
                        true,
                        hidden(0)};
  if (grad != nullptr) {
    last.key_grad = grad->key.mutable_data_ptr<Scalar>() + offset;
    last.value_grad = grad->value.mutable_data_ptr<Scalar>() + offset;
  }
  all.push_back(last);
  return all;
}

// The same of key head `head`.
template <class Scalar, class In>
std::vector<Keys<Scalar, In>> of_head(std::vector<Keys<Scalar, In>> keys, std::int64_t offset) {
  for (Keys<Scalar, In>& run : keys) {
    run.key += offset;
    run.value += offset;
    if (run.key_grad == nullptr) continue;
    run.key_grad += offset;
    run.value_grad += offset;
  }
  return keys;
}

template <class Scalar, class In>
Item<Scalar, In> item_of(const Heads& heads, const AttentionSlice& slice, const In* query,
                         const std::vector<Keys<Scalar, In>>& keys) {
  Item<Scalar, In> item{};
  item.query = query;
  item.query_stride = heads.query_width();
  item.lse_stride = heads.query;
  item.end = slice.end - slice.begin;
  item.members = heads.query / heads.key_value;
  item.dim = heads.dim;
  item.keys = keys.data();
  item.key_runs = static_cast<std::int64_t>(keys.size());
  item.key_stride = heads.kv_width();
  item.window = heads.window > 0;
  return item;
}

// Runs work(index, scratch) for [0, count), on several threads if `pairs` (query, key) pairs are
// worth it.
template <class Scalar, class Work>
void run_items(std::int64_t count, std::int64_t pairs, std::int64_t scratch, const Work& work) {
  constexpr std::int64_t kWorthThreads = 1 << 15;
  at::parallel_for(0, count, pairs < kWorthThreads ? count : 1, [&](auto from, auto to) {
    const at::Tensor memory =
        at::empty({scratch}, at::dtype(c10::CppTypeToScalarType<Scalar>::value));
    for (auto i = from; i < to; ++i) work(i, memory.mutable_data_ptr<Scalar>());
  });
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

template <class Scalar, class In>
void forward_typed(const Heads& heads, const QueryKeyValue& inputs,
                   std::span<const AttentionSlice> slices, AttentionResult& result) {
  const std::int64_t members = heads.query / heads.key_value;
  std::vector<std::vector<Keys<Scalar, In>>> keys;  // by key head, then slice
  std::vector<ForwardItem<Scalar, In>> items;
  keys.reserve(slices.size() * static_cast<std::size_t>(heads.key_value));
  for (std::int64_t head = 0; head < heads.key_value; ++head) {
    for (const AttentionSlice& slice : slices) {
      keys.push_back(
          of_head(keys_of<Scalar, In>(slice, inputs, nullptr, heads.window), head * heads.dim));
      const std::int64_t offset = slice.begin * heads.query_width() + head * members * heads.dim;
      ForwardItem<Scalar, In> item{
          item_of(heads, slice, stored<In>(inputs.query) + offset, keys.back()),
          written<In>(result.output) + offset,
          result.lse.mutable_data_ptr<Scalar>() + slice.begin * heads.query + head * members};
      const std::int64_t length = item.end;
      for (; item.begin < length; item.begin += attention_kernels::kForwardRows) {
        item.end = std::min(length, item.begin + attention_kernels::kForwardRows);
        items.push_back(item);
      }
    }
  }
  const Kernels<Scalar, In>& kernels = attention_kernels::best<Scalar, In>();
  run_items<Scalar>(static_cast<std::int64_t>(items.size()), pair_count(slices) * heads.query,
                    kernels.forward_scratch(members, heads.dim),
                    [&](std::int64_t i, Scalar* scratch) {
                      kernels.forward(items[static_cast<std::size_t>(i)], scratch);
                    });
}

template <class Scalar, class In>
void backward_typed(const Heads& heads, const at::Tensor& output_grad, const QueryKeyValue& saved,
                    const AttentionResult& result, std::span<AttentionSlice> slices,
                    const QueryKeyValue& grad) {
  const std::int64_t members = heads.query / heads.key_value;
  const at::Tensor delta = at::empty_like(result.lse);
  std::vector<std::vector<Keys<Scalar, In>>> by_slice;
  for (const AttentionSlice& slice : slices)
    by_slice.push_back(keys_of<Scalar, In>(slice, saved, &grad, heads.window));
  const auto slice_count = static_cast<std::int64_t>(slices.size());
  const Kernels<Scalar, In>& kernels = attention_kernels::best<Scalar, In>();
  run_items<Scalar>(
      heads.key_value * slice_count, pair_count(slices) * heads.query,
      kernels.backward_scratch(members, heads.dim), [&](std::int64_t i, Scalar* scratch) {
        const auto s = static_cast<std::size_t>(i % slice_count);
        const std::int64_t head = i / slice_count;
        const auto keys = of_head(by_slice[s], head * heads.dim);
        const std::int64_t offset =
            slices[s].begin * heads.query_width() + head * members * heads.dim;
        const std::int64_t number = slices[s].begin * heads.query + head * members;
        kernels.backward(
            {item_of(heads, slices[s], stored<In>(saved.query) + offset, keys),
             stored<In>(result.output) + offset, result.lse.const_data_ptr<Scalar>() + number,
             stored<In>(output_grad) + offset, delta.mutable_data_ptr<Scalar>() + number,
             grad.query.mutable_data_ptr<Scalar>() + offset},
            scratch);
      });
}

// Options of a gradient or a statistic of `like`.
at::TensorOptions accumulated(const at::Tensor& like) {
  return like.options().dtype(accumulate_dtype(like.scalar_type()));
}

// The accumulator that starts a gradient's rows: zero, or what later slices added.
at::Tensor started(const at::Tensor& like, std::span<AttentionSlice> slices,
                   at::Tensor AttentionSlice::*member) {
  if (slices.size() == 1 && (slices[0].*member).defined())
    return std::exchange(slices[0].*member, at::Tensor());
  at::Tensor grad = at::zeros(like.sizes(), accumulated(like));
  for (AttentionSlice& slice : slices) {
    if (!(slice.*member).defined()) continue;
    grad.narrow(0, slice.begin, slice.end - slice.begin).copy_(slice.*member);
    (slice.*member).reset();
  }
  return grad;
}

}  // namespace

AttentionResult forward(const Heads& heads, const QueryKeyValue& inputs,
                        std::span<const AttentionSlice> slices) {
  AttentionResult result{at::empty(inputs.query.sizes(), inputs.query.options()),
                         at::empty({inputs.query.size(0), heads.query}, accumulated(inputs.query))};
  switch (inputs.query.scalar_type()) {
    case at::kDouble:
      forward_typed<double, double>(heads, inputs, slices, result);
      break;
    case at::kBFloat16:
      forward_typed<float, Narrow>(heads, inputs, slices, result);
      break;
    default:
      forward_typed<float, float>(heads, inputs, slices, result);
  }
  return result;
}

QueryKeyValue backward(const Heads& heads, const at::Tensor& output_grad,
                       const QueryKeyValue& saved, const AttentionResult& result,
                       std::span<AttentionSlice> slices) {
  const QueryKeyValue grad{at::empty(saved.query.sizes(), accumulated(saved.query)),
                           started(saved.key, slices, &AttentionSlice::key_grad),
                           started(saved.value, slices, &AttentionSlice::value_grad)};
  for (AttentionSlice& slice : slices) {
    for (KvBlock& block : slice.context) {
      if (block.key_grad.defined()) continue;
      block.key_grad = at::zeros(block.key.sizes(), accumulated(block.key));
      block.value_grad = at::zeros(block.value.sizes(), accumulated(block.value));
    }
  }
  switch (saved.query.scalar_type()) {
    case at::kDouble:
      backward_typed<double, double>(heads, output_grad, saved, result, slices, grad);
      break;
    case at::kBFloat16:
      backward_typed<float, Narrow>(heads, output_grad, saved, result, slices, grad);
      break;
    default:
      backward_typed<float, float>(heads, output_grad, saved, result, slices, grad);
  }
  return grad;
}

}  // namespace infinipipe::attention_tiled
