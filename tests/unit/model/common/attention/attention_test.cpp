// Attention over chunks against plain softmax attention in autograd: grouped heads, cuts, packing.
#include "model/common/attention/attention.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "model/common/attention/block.h"
#include "model/common/attention/tiled.h"
#include "unit/model/model_testing.h"

namespace infinipipe {
namespace {

using kernels::Heads;
using kernels::QueryKeyValue;
using testing::random_tensor;
using testing::ReferenceModel;

// Contexts in several calls, too.
const ComputePath kPath{.device = true, .attention_keys = 512};

struct Implementation {
  const char* name;
  bool tiled;

  AttentionResult forward(const Heads& heads, const QueryKeyValue& x,
                          std::span<const AttentionSlice> slices) const {
    return tiled ? attention_tiled::forward(heads, x, slices)
                 : attention_block::forward(kPath, heads, x, slices);
  }
  QueryKeyValue backward(const Heads& heads, const at::Tensor& grad, const QueryKeyValue& x,
                         const AttentionResult& result, std::span<AttentionSlice> slices) const {
    return tiled ? attention_tiled::backward(heads, grad, x, result, slices)
                 : attention_block::backward(kPath, heads, grad, x, result, slices);
  }
};
void PrintTo(const Implementation& how, std::ostream* out) { *out << how.name; }
constexpr Implementation kTiled{"tiled", true};
constexpr Implementation kBlocks{"blocks", false};

// Relative error; absolute where nothing is expected (a lone key has no query gradient).
double error_of(const at::Tensor& found, const at::Tensor& expected) {
  const bool zero = expected.norm().item<double>() == 0.0;
  return zero ? found.norm().item<double>() : testing::relative_error(found, expected);
}

// A whole sequence's inputs, and what plain attention makes of them.
struct Oracle {
  QueryKeyValue inputs;  // [S, width], compute dtype
  at::Tensor output_grad;
  at::Tensor output;  // float64, as all below
  at::Tensor lse;     // [S, H]
  QueryKeyValue grad;

  Oracle(const Heads& heads, std::int64_t length, std::uint64_t seed, at::ScalarType dtype) {
    const auto make = [&](std::int64_t width, std::uint64_t salt) {
      return random_tensor({length, width}, 10 * seed + salt, dtype);
    };
    inputs = {make(heads.query_width(), 1), make(heads.kv_width(), 2), make(heads.kv_width(), 3)};
    output_grad = make(heads.query_width(), 4);
    const auto leaf = [&](const at::Tensor& x) {
      return x.to(at::kDouble).view({length, -1, heads.dim}).clone().requires_grad_(true);
    };
    const at::Tensor q = leaf(inputs.query), k = leaf(inputs.key), v = leaf(inputs.value);
    const at::Tensor out = ReferenceModel::attention(q, k, v, heads.window);
    (out * output_grad.to(at::kDouble)).sum().backward();
    output = out.detach();
    grad = {q.grad().flatten(1), k.grad().flatten(1), v.grad().flatten(1)};
    const at::Tensor scores =
        at::matmul(
            q.detach().transpose(0, 1),
            k.detach().repeat_interleave(heads.query / heads.key_value, 1).permute({1, 2, 0})) /
        std::sqrt(static_cast<double>(heads.dim));
    const at::Tensor all = at::ones({length, length}, at::dtype(at::kBool));
    at::Tensor hidden = all.triu(1);
    if (heads.window > 0) hidden = hidden | all.tril(-heads.window);
    lse = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()).logsumexp(2).t();
  }
};

QueryKeyValue rows_of(const QueryKeyValue& x, std::int64_t begin, std::int64_t end) {
  return {x.query.slice(0, begin, end), x.key.slice(0, begin, end), x.value.slice(0, begin, end)};
}

// Forward slice by slice, backward in reverse, each cut at `cuts`; compares with the oracle.
void check_cuts(const Implementation& how, const Heads& heads, std::int64_t length,
                std::vector<std::int64_t> cuts, at::ScalarType dtype, double bound) {
  const Oracle oracle(heads, length, 7, dtype);
  cuts.insert(cuts.begin(), 0);
  cuts.push_back(length);
  KvStore store;
  const SequenceId id(0);
  std::vector<AttentionResult> results;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    const QueryKeyValue own = rows_of(oracle.inputs, cuts[i], cuts[i + 1]);
    AttentionSlice slice{0, cuts[i + 1] - cuts[i], store.before(id, 0, cuts[i]), {}, {}};
    results.push_back(how.forward(heads, own, std::span(&slice, 1)));
    store.append(id, 0, cuts[i], own.key, own.value);
    const auto rows = [&](const at::Tensor& x) { return x.slice(0, cuts[i], cuts[i + 1]); };
    EXPECT_LE(error_of(results.back().output, rows(oracle.output)), bound);
    EXPECT_LE(error_of(results.back().lse, rows(oracle.lse)), bound);
  }
  for (std::size_t i = results.size(); i-- > 0;) {
    const QueryKeyValue own = rows_of(oracle.inputs, cuts[i], cuts[i + 1]);
    KvBlock block = store.take(id, 0, cuts[i]);
    AttentionSlice slice{0, cuts[i + 1] - cuts[i], store.before(id, 0, cuts[i]), block.key_grad,
                         block.value_grad};
    const auto rows = [&](const at::Tensor& x) { return x.slice(0, cuts[i], cuts[i + 1]); };
    const QueryKeyValue grad =
        how.backward(heads, rows(oracle.output_grad), own, results[i], std::span(&slice, 1));
    EXPECT_LE(error_of(grad.query, rows(oracle.grad.query)), bound);
    EXPECT_LE(error_of(grad.key, rows(oracle.grad.key)), bound);
    EXPECT_LE(error_of(grad.value, rows(oracle.grad.value)), bound);
  }
  EXPECT_TRUE(store.empty());
}

class AttentionTest : public ::testing::TestWithParam<Implementation> {};

TEST_P(AttentionTest, CutSequencesEqualPlainAttention) {
  for (const Heads heads : {Heads{4, 2, 8}, Heads{3, 3, 10}, Heads{6, 1, 4}}) {
    check_cuts(GetParam(), heads, 300, {}, at::kDouble, 1e-12);
    check_cuts(GetParam(), heads, 300, {1}, at::kDouble, 1e-12);
    check_cuts(GetParam(), heads, 300, {299}, at::kDouble, 1e-12);
    check_cuts(GetParam(), heads, 300, {127, 128, 129, 257}, at::kDouble, 1e-12);
    check_cuts(GetParam(), heads, 300, {3, 9, 20, 50, 51, 100, 200}, at::kDouble, 1e-12);
  }
  check_cuts(GetParam(), {2, 1, 16}, 1400, {260, 1300}, at::kDouble, 1e-12);
}

// Windows from one token to more than the sequence has, around the sizes of tiles and strips.
TEST_P(AttentionTest, WindowsEqualMaskedAttention) {
  for (const std::int64_t window : {1, 6, 31, 192, 299, 1000}) {
    const Heads heads{4, 2, 10, window};
    check_cuts(GetParam(), heads, 300, {}, at::kDouble, 1e-12);
    check_cuts(GetParam(), heads, 300, {3, 9, 20, 50, 51, 100, 200}, at::kDouble, 1e-12);
  }
  check_cuts(GetParam(), {2, 1, 16, 500}, 1400, {260, 1300}, at::kDouble, 1e-12);
  check_cuts(GetParam(), {2, 1, 32, 100}, 1400, {260, 1300}, at::kFloat, 3e-6);
}

TEST_P(AttentionTest, SinglePrecisionStaysNear) {
  check_cuts(GetParam(), {4, 2, 32}, 700, {150, 400}, at::kFloat, 3e-6);
}

// Several whole sequences and the tail of a cut one in one chunk.
TEST_P(AttentionTest, PackedSlicesEqualSeparateOnes) {
  const Heads heads{4, 2, 8};
  std::vector<Oracle> sequences;
  for (const std::int64_t length : {140, 1, 37, 64})
    sequences.emplace_back(heads, length, length, at::kDouble);
  const std::int64_t cut = 100;
  KvStore store;
  const QueryKeyValue before = rows_of(sequences[0].inputs, 0, cut);
  store.append(SequenceId(0), 0, 0, before.key, before.value);

  std::vector<AttentionSlice> slices;
  QueryKeyValue chunk;
  std::vector<at::Tensor> q, k, v, g;
  std::int64_t row = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const std::int64_t begin = i == 0 ? cut : 0, length = sequences[i].output.size(0);
    const QueryKeyValue own = rows_of(sequences[i].inputs, begin, length);
    q.push_back(own.query);
    k.push_back(own.key);
    v.push_back(own.value);
    g.push_back(sequences[i].output_grad.slice(0, begin, length));
    slices.push_back({row, row + length - begin, store.before(SequenceId(0), 0, begin), {}, {}});
    row += length - begin;
  }
  chunk = {at::cat(q), at::cat(k), at::cat(v)};
  const AttentionResult result = GetParam().forward(heads, chunk, slices);
  const QueryKeyValue grad = GetParam().backward(heads, at::cat(g), chunk, result, slices);
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const std::int64_t begin = i == 0 ? cut : 0, length = sequences[i].output.size(0);
    const auto expected = [&](const at::Tensor& x) { return x.slice(0, begin, length); };
    const auto found = [&](const at::Tensor& x) {
      return x.slice(0, slices[i].begin, slices[i].end);
    };
    EXPECT_LE(error_of(found(result.output), expected(sequences[i].output)), 1e-12);
    EXPECT_LE(error_of(found(result.lse), expected(sequences[i].lse)), 1e-12);
    EXPECT_LE(error_of(found(grad.query), expected(sequences[i].grad.query)), 1e-12);
    EXPECT_LE(error_of(found(grad.key), expected(sequences[i].grad.key)), 1e-12);
    EXPECT_LE(error_of(found(grad.value), expected(sequences[i].grad.value)), 1e-12);
  }
  // What the tail's queries add for the tokens before it has to be there, and only that.
  EXPECT_EQ(store.grad_bytes(), store.kv_bytes());
}

INSTANTIATE_TEST_SUITE_P(Ways, AttentionTest, ::testing::Values(kTiled, kBlocks),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(AttentionBlocks, HalfPrecisionStaysNear) {
  check_cuts(kBlocks, {4, 2, 32}, 500, {150, 400}, at::kBFloat16, 2e-2);
}

// The public entry, whichever way it takes on this machine.
TEST(Attention, HalfPrecisionAccumulatesInSinglePrecision) {
  const Heads heads{4, 2, 32};
  const Oracle oracle(heads, 200, 3, at::kBFloat16);
  KvStore store;
  const QueryKeyValue first = rows_of(oracle.inputs, 0, 120),
                      second = rows_of(oracle.inputs, 120, 200);
  store.append(SequenceId(0), 0, 0, first.key, first.value);
  AttentionSlice slice{0, 80, store.before(SequenceId(0), 0, 120), {}, {}};
  const AttentionResult result =
      attention_forward({}, heads, second.query, second.key, second.value, std::span(&slice, 1));
  EXPECT_EQ(result.output.scalar_type(), at::kBFloat16);
  EXPECT_EQ(result.lse.scalar_type(), at::kFloat);
  attention_backward({}, heads, oracle.output_grad.slice(0, 120), second, result,
                     std::span(&slice, 1));
  const KvBlock block = store.take(SequenceId(0), 0, 0);
  EXPECT_EQ(block.key_grad.scalar_type(), at::kFloat);
  EXPECT_EQ(block.key_grad.sizes(), first.key.sizes());
  EXPECT_GT(block.value_grad.abs().max().item<float>(), 0.0F);
}

TEST(Attention, ThreadCountChangesNoBit) {
  const Heads heads{4, 2, 16};
  const Oracle oracle(heads, 600, 9, at::kFloat);
  std::vector<AttentionSlice> slices = {{0, 350, {}, {}, {}}, {350, 600, {}, {}, {}}};
  const int threads = at::get_num_threads();
  std::vector<AttentionResult> results;
  std::vector<QueryKeyValue> grads;
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    results.push_back(attention_tiled::forward(heads, oracle.inputs, slices));
    grads.push_back(attention_tiled::backward(heads, oracle.output_grad, oracle.inputs,
                                              results.back(), slices));
  }
  at::set_num_threads(threads);
  for (std::size_t i = 1; i < results.size(); ++i) {
    EXPECT_TRUE(at::equal(results[i].output, results[0].output));
    EXPECT_TRUE(at::equal(grads[i].query, grads[0].query));
    EXPECT_TRUE(at::equal(grads[i].key, grads[0].key));
    EXPECT_TRUE(at::equal(grads[i].value, grads[0].value));
  }
}

// Scores far apart: nothing overflows, and hopeless keys weigh nothing.
TEST(Attention, LargeScoresStayFinite) {
  const Heads heads{1, 1, 4};
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const at::Tensor q = at::full({3, 4}, 30.0, at::dtype(dtype));
    at::Tensor k = at::zeros({3, 4}, at::dtype(dtype));
    k.select(0, 1).fill_(30.0);   // score 1,800
    k.select(0, 2).fill_(-30.0);  // score -1,800
    const at::Tensor v = at::arange(12, at::dtype(dtype)).view({3, 4});
    AttentionSlice slice{0, 3, {}, {}, {}};
    const AttentionResult result = attention_tiled::forward(heads, {q, k, v}, std::span(&slice, 1));
    EXPECT_TRUE(at::equal(result.output.select(0, 0), v.select(0, 0)));
    EXPECT_TRUE(at::allclose(result.output.select(0, 1), v.select(0, 1)));
    EXPECT_TRUE(at::allclose(result.output.select(0, 2), v.select(0, 1)));
    const QueryKeyValue grad =
        attention_tiled::backward(heads, at::ones_like(q), {q, k, v}, result, std::span(&slice, 1));
    EXPECT_TRUE(grad.query.isfinite().all().item<bool>());
    EXPECT_TRUE(grad.key.isfinite().all().item<bool>());
  }
}

}  // namespace
}  // namespace infinipipe
