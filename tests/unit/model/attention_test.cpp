// Attention slice by slice, by both implementations, against one plain attention over whole
// sequences.
#include "model/attention.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <ostream>
#include <string_view>

#include "model/attention_tiled.h"
#include "model_testing.h"

namespace infinipipe {
namespace {

using kernels::Heads;
using kernels::QueryKeyValue;
using testing::random_tensor;
using testing::ReferenceModel;

struct Way {
  const char* name;
  decltype(&attention_forward) forward;  // of attention.h's signature
  decltype(&attention_backward) backward;
  at::ScalarType dtype;
  double bound;
};
void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

AttentionResult block_forward(const Heads& heads, const at::Tensor& query, const at::Tensor& key,
                              const at::Tensor& value, std::span<const AttentionSlice> slices) {
  return attention_block::forward(heads, {query, key, value}, slices);
}
AttentionResult tiled_forward(const Heads& heads, const at::Tensor& query, const at::Tensor& key,
                              const at::Tensor& value, std::span<const AttentionSlice> slices) {
  return attention_tiled::forward(heads, {query, key, value}, slices);
}

class Attention : public ::testing::TestWithParam<Way> {
 protected:
  void SetUp() override { at::set_num_threads(1); }
};

INSTANTIATE_TEST_SUITE_P(
    Ways, Attention,
    ::testing::Values(
        Way{"tiled_float64", &tiled_forward, &attention_tiled::backward, at::kDouble, 1e-12},
        Way{"tiled_float32", &tiled_forward, &attention_tiled::backward, at::kFloat, 5e-6},
        Way{"blocks_float64", &block_forward, &attention_block::backward, at::kDouble, 1e-12},
        Way{"blocks_float32", &block_forward, &attention_block::backward, at::kFloat, 5e-6},
        Way{"blocks_bfloat16", &block_forward, &attention_block::backward, at::kBFloat16, 2e-2},
        Way{"chosen_float64", &attention_forward, &attention_backward, at::kDouble, 1e-12},
        Way{"chosen_bfloat16", &attention_forward, &attention_backward, at::kBFloat16, 2e-2}),
    [](const auto& test) { return std::string(test.param.name); });

// One sequence cut at `bounds`; its last slice shares a chunk with whole sequences before and after
// it. Forward slice by slice, backward in the opposite order.
class CutSequence {
 public:
  CutSequence(const Way& way, const Heads& heads, std::vector<std::int64_t> bounds,
              std::vector<std::int64_t> before, std::vector<std::int64_t> after)
      : way_(way), heads_(heads), bounds_(std::move(bounds)), before_(before), after_(after) {
    std::uint64_t seed = 10;
    long_ = draw(bounds_.back(), seed);
    for (const std::int64_t n : before_) neighbours_.push_back(draw(n, seed));
    for (const std::int64_t n : after_) neighbours_.push_back(draw(n, seed));
  }

  struct Tensors {
    at::Tensor query, key, value, grad;  // grad: of the output
  };

  void expect_equal_to_plain_attention() {
    const std::size_t slices = bounds_.size() - 1;
    for (std::size_t i = 0; i < slices; ++i) forward(i);
    for (std::size_t i = slices; i-- > 0;) backward(i);
    for (const KvBlock& block : blocks_)
      EXPECT_FALSE(block.key_grad.defined()) << "an accumulator that nobody took";
    expect_equal(long_, at::cat(output_, 0), at::cat(query_grad_, 0), at::cat(key_grad_, 0),
                 at::cat(value_grad_, 0), "the cut sequence");
    for (std::size_t i = 0; i < neighbours_.size(); ++i) {
      const auto& [output, query, key, value] = neighbour_results_.at(i);
      expect_equal(neighbours_[i], output, query, key, value, "a neighbour");
    }
  }

 private:
  Tensors draw(std::int64_t n, std::uint64_t& seed) const {
    return {random_tensor({n, heads_.query_width()}, ++seed, way_.dtype),
            random_tensor({n, heads_.kv_width()}, ++seed, way_.dtype),
            random_tensor({n, heads_.kv_width()}, ++seed, way_.dtype),
            random_tensor({n, heads_.query_width()}, ++seed, way_.dtype)};
  }

  // The chunk of slice i: tensors, and where its slices lie in it.
  struct Chunk {
    Tensors tensors;
    std::vector<AttentionSlice> slices;
    std::size_t cut = 0;  // of `slices`
  };
  Chunk chunk(std::size_t i) {
    const bool last = i + 2 == bounds_.size();
    std::vector<Tensors> parts;
    Chunk chunk;
    const auto add = [&](const Tensors& part) {
      AttentionSlice slice;
      slice.begin = chunk.slices.empty() ? 0 : chunk.slices.back().end;
      slice.end = slice.begin + part.query.size(0);
      chunk.slices.push_back(slice);
      parts.push_back(part);
    };
    if (last)
      for (std::size_t n = 0; n < before_.size(); ++n) add(neighbours_[n]);
    chunk.cut = parts.size();
    const auto rows = [&](const at::Tensor& x) { return x.slice(0, bounds_[i], bounds_[i + 1]); };
    add({rows(long_.query), rows(long_.key), rows(long_.value), rows(long_.grad)});
    if (last)
      for (std::size_t n = 0; n < after_.size(); ++n) add(neighbours_[before_.size() + n]);
    const auto joined = [&](at::Tensor Tensors::*member) {
      std::vector<at::Tensor> all;
      for (const Tensors& part : parts) all.push_back(part.*member);
      return at::cat(all, 0);
    };
    chunk.tensors = {joined(&Tensors::query), joined(&Tensors::key), joined(&Tensors::value),
                     joined(&Tensors::grad)};
    chunk.slices[chunk.cut].context = std::span(blocks_).first(i);
    return chunk;
  }

  void forward(std::size_t i) {
    const Chunk c = chunk(i);
    results_.push_back(
        way_.forward(heads_, c.tensors.query, c.tensors.key, c.tensors.value, c.slices));
    const AttentionSlice& cut = c.slices[c.cut];
    output_.push_back(results_[i].output.slice(0, cut.begin, cut.end));
    if (i + 2 < bounds_.size()) {
      blocks_.push_back({bounds_[i], bounds_[i + 1], c.tensors.key, c.tensors.value, {}, {}});
    }
  }

  void backward(std::size_t i) {
    Chunk c = chunk(i);
    if (i < blocks_.size()) {  // what later slices added to this one
      c.slices[c.cut].key_grad = std::move(blocks_[i].key_grad);
      c.slices[c.cut].value_grad = std::move(blocks_[i].value_grad);
      blocks_[i].key_grad = blocks_[i].value_grad = at::Tensor();
    }
    const QueryKeyValue grad =
        way_.backward(heads_, c.tensors.grad, {c.tensors.query, c.tensors.key, c.tensors.value},
                      results_[i], c.slices);
    for (std::size_t s = 0; s < c.slices.size(); ++s) {
      const auto rows = [&](const at::Tensor& x) {
        return x.slice(0, c.slices[s].begin, c.slices[s].end);
      };
      if (s == c.cut) {
        query_grad_.insert(query_grad_.begin(), rows(grad.query));
        key_grad_.insert(key_grad_.begin(), rows(grad.key));
        value_grad_.insert(value_grad_.begin(), rows(grad.value));
      } else {
        neighbour_results_.push_back(
            {rows(results_[i].output), rows(grad.query), rows(grad.key), rows(grad.value)});
      }
    }
  }

  void expect_equal(const Tensors& in, const at::Tensor& output, const at::Tensor& query_grad,
                    const at::Tensor& key_grad, const at::Tensor& value_grad,
                    const char* what) const {
    const auto leaf = [&](const at::Tensor& x, std::int64_t heads) {
      return x.to(at::kDouble).clone().view({x.size(0), heads, heads_.dim}).requires_grad_(true);
    };
    const at::Tensor q = leaf(in.query, heads_.query), k = leaf(in.key, heads_.key_value),
                     v = leaf(in.value, heads_.key_value);
    const at::Tensor expected = ReferenceModel::attention(q, k, v);
    expected.backward(in.grad.to(at::kDouble));
    // Some gradients vanish (of a lone token's query and key): the incoming one sets the scale.
    const double scale = in.grad.to(at::kDouble).norm().item<double>();
    const auto near = [&](const at::Tensor& found, const at::Tensor& plain) {
      const double size = std::max(scale, plain.norm().item<double>());
      return (found.to(at::kDouble) - plain).norm().item<double>() / size;
    };
    EXPECT_LE(near(output, expected.detach()), way_.bound) << what;
    EXPECT_LE(near(query_grad, q.grad().flatten(1)), way_.bound) << what;
    EXPECT_LE(near(key_grad, k.grad().flatten(1)), way_.bound) << what;
    EXPECT_LE(near(value_grad, v.grad().flatten(1)), way_.bound) << what;
  }

  Way way_;
  Heads heads_;
  std::vector<std::int64_t> bounds_, before_, after_;
  Tensors long_;
  std::vector<Tensors> neighbours_;
  std::vector<AttentionResult> results_;
  std::vector<KvBlock> blocks_;
  std::vector<at::Tensor> output_, query_grad_, key_grad_, value_grad_;
  std::vector<std::array<at::Tensor, 4>> neighbour_results_;
};

TEST_P(Attention, EqualsPlainAttentionOverSlices) {
  if (std::string_view(GetParam().name).starts_with("tiled") && !attention_tiled::available())
    GTEST_SKIP() << "LibTorch brings no BLAS here";
  for (const Heads heads : {Heads{4, 4, 16}, Heads{4, 2, 8}, Heads{6, 1, 16}}) {
    SCOPED_TRACE(::testing::Message() << heads.query << " heads on " << heads.key_value);
    // Around the tiles' 128 rows and 256 columns, and blocks below 256 keys that are joined.
    CutSequence(GetParam(), heads, {0, 128, 129, 400, 656, 700}, {1, 5}, {130})
        .expect_equal_to_plain_attention();
    CutSequence(GetParam(), heads, {0, 3, 4, 90, 91}, {}, {7}).expect_equal_to_plain_attention();
    CutSequence(GetParam(), heads, {0, 300}, {}, {}).expect_equal_to_plain_attention();
  }
}

// A slice's rows see the same bits whatever is packed beside them.
TEST_P(Attention, NeighboursDoNotLeak) {
  if (std::string_view(GetParam().name).starts_with("tiled") && !attention_tiled::available())
    GTEST_SKIP() << "LibTorch brings no BLAS here";
  const Heads heads{4, 2, 16};
  const auto draw = [&](std::int64_t width, std::uint64_t seed) {
    return random_tensor({200, width}, seed, GetParam().dtype);
  };
  std::vector<AttentionSlice> slices(2);
  slices[0].end = slices[1].begin = 70;
  slices[1].end = 200;
  QueryKeyValue in{draw(heads.query_width(), 1), draw(heads.kv_width(), 2),
                   draw(heads.kv_width(), 3)};
  const at::Tensor grad = draw(heads.query_width(), 4);
  const auto both = [&] {
    const AttentionResult result = GetParam().forward(heads, in.query, in.key, in.value, slices);
    const QueryKeyValue back = GetParam().backward(heads, grad, in, result, slices);
    return at::cat({result.output, back.query, back.key, back.value}, 1).slice(0, 0, 70).clone();
  };
  const at::Tensor before = both();
  for (at::Tensor* each : {&in.query, &in.key, &in.value}) each->slice(0, 70, 200).fill_(3.0);
  EXPECT_TRUE(at::equal(both(), before));
}

}  // namespace
}  // namespace infinipipe
