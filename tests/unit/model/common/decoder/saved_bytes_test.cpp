// What core/layer_costs.h says a layer keeps is what a real layer's tensors hold.
#include <gtest/gtest.h>

#include <memory>
#include <tuple>

#include "core/layer_costs.h"
#include "unit/model/model_testing.h"

namespace infinipipe {
namespace {

struct Number {
  const char* name;
  at::ScalarType dtype;
  double bytes;
  double sum_bytes;
};

class SavedBytes : public ::testing::TestWithParam<std::tuple<Number, FamilyRow>> {};

INSTANTIATE_TEST_SUITE_P(
    Dtypes, SavedBytes,
    ::testing::Combine(::testing::Values(Number{"float64", at::kDouble, 8, 8},
                                         Number{"float32", at::kFloat, 4, 4},
                                         Number{"bfloat16", at::kBFloat16, 2, 4}),
                       ::testing::ValuesIn(kFamilies)),
    [](const auto& test) {
      return std::string(std::get<0>(test.param).name) + "_" + std::get<1>(test.param).name;
    });

// One layer alone, over a sequence in two slices, at every way of keeping.
TEST_P(SavedBytes, AreAsCounted) {
  const auto& [number, family] = GetParam();
  ModelSpec model = testing::small_model();
  model.family = family.value;
  model.num_hidden_layers = 1;
  model.head_dim = 10;  // so that queries, keys and hidden states all differ in width
  StageModel::Options options;
  options.model = model;
  options.layers = {0, 1};
  options.dtype = number.dtype;
  StageModel stage(options);
  constexpr Tokens kFirst = 70, kLength = 150;
  const auto bytes = [&, &number = number](Tokens tokens, const TokenNumbers& numbers) {
    return static_cast<double>(tokens) * numbers.bytes(number.bytes, number.sum_bytes);
  };
  struct Way {
    Keep level;
    double kept;  // bytes a token
    double pending;
  };
  const double input = bytes(1, layer_input(model));
  std::vector<Way> ways = {
      {Keep::kAll, bytes(1, layer_kept(model)), bytes(1, layer_pending(model))}};
  for (const KeepLevel& level : kKeepLevels) {
    if (level.keep == Keep::kAll) continue;
    ways.push_back({level.keep, input + bytes(1, layer_beside_input(model, level.keep)), 0.0});
  }
  for (const Way& way : ways) {
    KvStore store;
    const auto hidden = [&, &number = number](Tokens rows) {
      return testing::random_tensor({rows, model.hidden_size}, 1, number.dtype);
    };
    const auto forward = [&](Tokens begin, Tokens end) {
      const ChunkWork chunk{{testing::slice_of(0, begin, end, kLength)}, Keeping::of(way.level, 1)};
      return stage.forward(chunk, hidden(end - begin), nullptr, store, /*keep=*/true).state;
    };
    const std::unique_ptr<ChunkState> first = forward(0, kFirst);
    const std::unique_ptr<ChunkState> second = forward(kFirst, kLength);
    EXPECT_EQ(static_cast<double>(first->bytes()), kFirst * way.kept);
    EXPECT_EQ(static_cast<double>(second->bytes()), (kLength - kFirst) * way.kept);
    EXPECT_EQ(static_cast<double>(store.kv_bytes()), bytes(kFirst, layer_kv(model)));
    stage.backward_input(*second, hidden(kLength - kFirst), store);
    EXPECT_EQ(static_cast<double>(second->bytes()), (kLength - kFirst) * way.pending);
    EXPECT_EQ(static_cast<double>(store.grad_bytes()), bytes(kFirst, layer_kv_grad(model)));
    stage.backward_input(*first, hidden(kFirst), store);
    EXPECT_EQ(static_cast<double>(first->bytes()), kFirst * way.pending);
    for (ChunkState* state : {first.get(), second.get()}) {
      stage.backward_weight(*state);
      EXPECT_EQ(state->bytes(), 0);
    }
    EXPECT_TRUE(store.empty());
  }
}

}  // namespace
}  // namespace infinipipe
