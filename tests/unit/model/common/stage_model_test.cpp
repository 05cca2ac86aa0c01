// A stage's explicit forward and backward against the autograd oracle, whole models through chunks
// of all kinds.
#include "model/common/stage_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/layer_costs.h"
#include "infinipipe/base/error.h"
#include "support/keeping.h"
#include "unit/model/model_testing.h"

namespace infinipipe {
namespace {

using testing::again;
using testing::inputs;

// So many layers keep all but the MLP's middle.
Keeping mlp(int layers) { return Keeping::of(Keep::kMlpInput, layers); }

// One layer of each level that runs again, for the last levels of the table if the small model has
// fewer layers.
Keeping each_level() {
  Keeping keeping;
  std::int64_t left = testing::small_model().num_hidden_layers;
  for (std::size_t i = kRemadeLevels; i > 0 && left > 0; --i, --left) keeping.layers[i - 1] = 1;
  return keeping;
}

// All layers at one level, for every level of the table, and two mixtures.
std::vector<Keeping> ways_to_run_again() {
  std::vector<Keeping> ways{again(3, 1), each_level()};
  for (const KeepLevel& level : kKeepLevels)
    if (level.keep != Keep::kAll) ways.push_back(Keeping::of(level.keep, 3));
  return ways;
}

using testing::Pipeline;
using testing::random_tokens;
using testing::relative_error;
using testing::slice_of;
using testing::small_model;
using testing::TokenLists;

// Lengths 150, 9, 1, 40; sequence 0 in slices of 70, 50, 30, the last with others beside it.
TokenLists mixed_batch(const ModelSpec& model) {
  TokenLists sequences;
  std::uint64_t seed = 5;
  for (const std::int64_t length : {150, 9, 1, 40})
    sequences.push_back(random_tokens(length, model.vocab_size, ++seed));
  return sequences;
}
std::vector<ChunkWork> mixed_chunks(const Keeping& keeping = {}) {
  return {{{slice_of(0, 0, 70, 150)}, keeping},
          {{slice_of(0, 70, 120, 150)}, keeping},
          {{slice_of(0, 120, 150, 150), slice_of(1, 0, 9, 9)}, keeping},
          {{slice_of(2, 0, 1, 1), slice_of(3, 0, 40, 40)}, keeping}};
}

void expect_gradients(Pipeline& pipeline, const testing::ReferenceModel& oracle, double bound) {
  for (const auto& [name, parameter] : pipeline.parameters())
    EXPECT_LE(relative_error(parameter.grad, oracle.grad(name)), bound) << name;
}

struct Case {
  const char* name;
  std::vector<int> layers;
  Keeping keeping;
  bool halves;
};

class StageModelTest : public ::testing::TestWithParam<Case> {};

TEST_P(StageModelTest, GradientsEqualAutograd) {
  const ModelSpec model = small_model();
  Pipeline pipeline(model, GetParam().layers);
  auto oracle = pipeline.reference();
  const TokenLists sequences = mixed_batch(model);
  const double expected = oracle.run(sequences);
  const double loss = pipeline.run(sequences, mixed_chunks(GetParam().keeping), GetParam().halves);
  EXPECT_NEAR(loss, expected, 1e-12 * expected);
  expect_gradients(pipeline, oracle, 1e-10);
  for (std::size_t s = 0; s < pipeline.size(); ++s) EXPECT_TRUE(pipeline.store(s).empty());
}

INSTANTIATE_TEST_SUITE_P(Ways, StageModelTest,
                         ::testing::Values(Case{"whole", {3}, {}, false},
                                           Case{"halves", {3}, {}, true},
                                           Case{"recomputed", {3}, inputs(2), false},
                                           Case{"recomputed_halves", {3}, inputs(3), true},
                                           Case{"around_attention", {3}, again(2, 2), false},
                                           Case{"both_ways", {3}, again(3, 1), false},
                                           Case{"around_halves", {2, 1}, again(1, 1), true},
                                           Case{"mlp_alone", {3}, mlp(3), false},
                                           Case{"mlp_halves", {2, 1}, mlp(1), true},
                                           Case{"all_levels", {3}, each_level(), false},
                                           Case{"two_stages", {2, 1}, inputs(1), false},
                                           Case{"three_stages_halves", {1, 1, 1}, {}, true}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(StageModel, LossWeightsCount) {
  const ModelSpec model = small_model();
  Pipeline pipeline(model, {1, 2});
  auto oracle = pipeline.reference();
  const TokenLists sequences = mixed_batch(model);
  std::vector<std::vector<float>> weights;
  Random random(3);
  for (const auto& sequence : sequences) {
    weights.emplace_back();
    for (std::size_t j = 0; j < sequence.size(); ++j)
      weights.back().push_back(j % 3 == 0 ? 0.0F : static_cast<float>(random.uniform()));
  }
  const double expected = oracle.run(sequences, weights);
  EXPECT_NEAR(pipeline.run(sequences, mixed_chunks(), false, weights), expected, 1e-12 * expected);
  expect_gradients(pipeline, oracle, 1e-10);
}

TEST(StageModel, GradientsAccumulateAndZero) {
  const ModelSpec model = small_model();
  Pipeline pipeline(model, {3});
  const TokenLists sequences = mixed_batch(model);
  pipeline.run(sequences, mixed_chunks());
  std::map<std::string, at::Tensor> once;
  for (const auto& [name, parameter] : pipeline.parameters()) once[name] = parameter.grad.clone();
  pipeline.run(sequences, mixed_chunks());
  for (const auto& [name, parameter] : pipeline.parameters())
    EXPECT_LE(relative_error(parameter.grad, 2 * once[name]), 1e-13) << name;
  pipeline.stage(0).zero_grad();
  for (const auto& [name, parameter] : pipeline.parameters())
    EXPECT_EQ(parameter.grad.abs().max().item<double>(), 0.0) << name;
}

// The same operations in the same order: recomputing changes no bit.
class Recomputing : public ::testing::TestWithParam<Keeping> {};
INSTANTIATE_TEST_SUITE_P(Levels, Recomputing, ::testing::ValuesIn(ways_to_run_again()));

TEST_P(Recomputing, IsBitEqual) {
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const ModelSpec model = small_model();
    const TokenLists sequences = mixed_batch(model);
    Pipeline kept(model, {3}, dtype), remade(model, {3}, dtype);
    EXPECT_EQ(kept.run(sequences, mixed_chunks()), remade.run(sequences, mixed_chunks(GetParam())));
    const auto expected = kept.parameters();
    for (const auto& [name, parameter] : remade.parameters())
      EXPECT_TRUE(at::equal(parameter.grad, expected.at(name).grad)) << name;
    EXPECT_GT(remade.stage(0).take_recompute_seconds(), 0.0);
    EXPECT_EQ(remade.stage(0).take_recompute_seconds(), 0.0);
    EXPECT_EQ(kept.stage(0).take_recompute_seconds(), 0.0);
  }
}

TEST(StageModel, SingleAndHalfPrecisionStayNearAutograd) {
  const ModelSpec model = small_model();
  const TokenLists sequences = mixed_batch(model);
  struct Bound {
    at::ScalarType dtype;
    double loss, grad;
  };
  for (const Bound bound : {Bound{at::kFloat, 2e-6, 2e-5}, Bound{at::kBFloat16, 2e-2, 6e-2}}) {
    Pipeline pipeline(model, {2, 1}, bound.dtype);
    auto oracle = pipeline.reference(at::kDouble);
    const double expected = oracle.run(sequences);
    EXPECT_NEAR(pipeline.run(sequences, mixed_chunks(inputs(1))), expected, bound.loss * expected);
    expect_gradients(pipeline, oracle, bound.grad);
  }
}

TEST(StageModel, TiedEmbeddingsOnOneStageShareOneGradient) {
  ModelSpec model = small_model();
  model.tie_word_embeddings = true;
  Pipeline pipeline(model, {3});
  EXPECT_EQ(pipeline.parameters().count("lm_head.weight"), 0U);
  auto oracle = pipeline.reference();
  const TokenLists sequences = mixed_batch(model);
  oracle.run(sequences);
  pipeline.run(sequences, mixed_chunks());
  expect_gradients(pipeline, oracle, 1e-10);
}

TEST(StageModel, TiedEmbeddingsOnTwoStagesSumToOneGradient) {
  ModelSpec model = small_model();
  model.tie_word_embeddings = true;
  Pipeline pipeline(model, {1, 2});
  auto parameters = pipeline.parameters();
  const Parameter& first = parameters.at("model.embed_tokens.weight");
  const Parameter& copy = parameters.at("lm_head.weight");
  EXPECT_TRUE(copy.tied_copy);
  EXPECT_FALSE(first.tied_copy);
  EXPECT_TRUE(at::equal(first.master, copy.master));
  auto oracle = pipeline.reference();
  const TokenLists sequences = mixed_batch(model);
  oracle.run(sequences);
  pipeline.run(sequences, mixed_chunks());
  EXPECT_LE(relative_error(first.grad + copy.grad, oracle.grad("model.embed_tokens.weight")),
            1e-10);
}

// Another sequence in the same chunk changes no bit of a sequence's loss or of its hidden states.
TEST(StageModel, PackedNeighboursDoNotLeak) {
  const ModelSpec model = small_model();
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    Pipeline pipeline(model, {3}, dtype);
    TokenLists sequences = mixed_batch(model);
    std::vector<std::vector<float>> weights;
    for (const auto& sequence : sequences) weights.emplace_back(sequence.size(), 0.0F);
    std::fill(weights[0].begin(), weights[0].end(), 1.0F);  // loss terms of sequence 0 only
    const auto hidden = [&](std::size_t c) {
      const auto chunk = mixed_chunks()[c];
      return pipeline.stage(0)
          .forward(chunk, Pipeline::ids(sequences, chunk), nullptr, pipeline.store(0), false)
          .output;
    };
    pipeline.run(sequences, mixed_chunks(), false, weights);
    const auto losses = pipeline.chunk_losses;
    const at::Tensor packed = hidden(3);
    sequences[1] = random_tokens(9, model.vocab_size, 99);
    sequences[2] = random_tokens(1, model.vocab_size, 98);
    pipeline.run(sequences, mixed_chunks(), false, weights);
    EXPECT_EQ(pipeline.chunk_losses, losses);
    EXPECT_TRUE(at::equal(hidden(3).narrow(0, 1, 40), packed.narrow(0, 1, 40)));
    EXPECT_FALSE(at::equal(hidden(3).narrow(0, 0, 1), packed.narrow(0, 0, 1)));
  }
}

TEST(StageModel, EvaluationLeavesNothingAndAgrees) {
  const ModelSpec model = small_model();
  Pipeline pipeline(model, {3});
  const TokenLists sequences = mixed_batch(model);
  pipeline.run(sequences, mixed_chunks());
  const auto losses = pipeline.chunk_losses;
  pipeline.stage(0).zero_grad();
  const auto oracle = pipeline.reference();
  const auto chunks = mixed_chunks();
  for (std::size_t c = 0; c < chunks.size(); ++c) {
    const auto targets = Pipeline::targets_of(sequences, chunks[c], {}, 1.0);
    const auto out = pipeline.stage(0).forward(chunks[c], Pipeline::ids(sequences, chunks[c]),
                                               &targets, pipeline.store(0), false);
    EXPECT_EQ(out.state, nullptr);
    EXPECT_EQ(out.loss.item<double>(), losses[c]);
    // Each token's own loss, 0 for the last of a sequence.
    std::int64_t row = 0;
    for (const SliceWork& slice : chunks[c].slices) {
      const auto& tokens = sequences[slice.sequence.index()];
      const at::Tensor expected = tokens.size() < 2 ? at::zeros({0}, at::dtype(at::kDouble))
                                                    : oracle.token_losses(tokens).detach();
      for (Tokens at = slice.begin; at < slice.end; ++at, ++row) {
        const bool target = at + 1 < static_cast<Tokens>(tokens.size());
        const double loss = target ? expected[at].item<double>() : 0.0;
        EXPECT_NEAR(out.terms[row].item<double>(), loss, 1e-10);
      }
    }
  }
  EXPECT_TRUE(pipeline.store(0).empty());
  for (const auto& [name, parameter] : pipeline.parameters())
    EXPECT_EQ(parameter.grad.abs().max().item<double>(), 0.0) << name;
}

TEST(StageModel, LogitsEqualTheOracle) {
  const ModelSpec model = small_model();
  Pipeline pipeline(model, {3});
  const auto oracle = pipeline.reference();
  const TokenLists sequences = {random_tokens(33, model.vocab_size, 4)};
  const ChunkWork chunk{{slice_of(0, 0, 33, 33)}, {}};
  const auto out = pipeline.stage(0).forward(chunk, Pipeline::ids(sequences, chunk), nullptr,
                                             pipeline.store(0), false);
  const at::Tensor logits = pipeline.stage(0).logits(out.output);
  EXPECT_LE(relative_error(logits, oracle.logits(sequences[0]).detach()), 1e-12);
}

// What stays after the forward is what core/layer_costs.h says; backward_input never leaves more.
TEST(StageModel, SavedBytesAreAsStated) {
  const ModelSpec model = small_model();
  Pipeline pipeline(model, {3});
  const TokenLists sequences = mixed_batch(model);
  const auto bytes = [](const TokenNumbers& numbers) {
    return static_cast<std::int64_t>(numbers.bytes(8, 8));
  };
  std::vector<Keeping> ways = ways_to_run_again();
  ways.insert(ways.end(), {inputs(0), inputs(2), again(2, 1), again(2, 2), mlp(2)});
  for (const Keeping& way : ways) {
    const ChunkWork chunk{{slice_of(0, 0, 70, 150)}, way};
    std::int64_t kept =
        (3 - way.remade()) * bytes(layer_kept(model)) + way.remade() * bytes(layer_input(model));
    for (const KeepLevel& level : kKeepLevels) {
      if (level.keep == Keep::kAll) continue;
      kept += way[level.keep] * bytes(layer_beside_input(model, level.keep));
    }
    const ChunkTargets targets = Pipeline::targets_of(sequences, chunk, {}, 69.0);
    auto out = pipeline.stage(0).forward(chunk, Pipeline::ids(sequences, chunk), &targets,
                                         pipeline.store(0), true);
    const std::int64_t rest = 8 * (model.hidden_size + 1);  // hidden gradient and token ids
    EXPECT_EQ(out.state->bytes(), 70 * (kept + rest));
    EXPECT_EQ(pipeline.store(0).kv_bytes(), 70 * 3 * bytes(layer_kv(model)));
    const std::int64_t before = out.state->bytes();
    pipeline.stage(0).backward_input(*out.state, {}, pipeline.store(0));
    EXPECT_LE(out.state->bytes(), before);
    EXPECT_TRUE(pipeline.store(0).empty());
    pipeline.stage(0).backward_weight(*out.state);
    EXPECT_EQ(out.state->bytes(), 0);
  }
}

TEST(StageModel, OrderMistakesAreCaught) {
  const ModelSpec model = small_model();
  Pipeline pipeline(model, {3});
  const TokenLists sequences = mixed_batch(model);
  const auto chunks = mixed_chunks();
  const auto forward = [&](std::size_t c) {
    const ChunkTargets targets = Pipeline::targets_of(sequences, chunks[c], {}, 1.0);
    return pipeline.stage(0).forward(chunks[c], Pipeline::ids(sequences, chunks[c]), &targets,
                                     pipeline.store(0), true);
  };
  EXPECT_THROW(forward(1), std::logic_error);  // its context is missing
  auto first = forward(0);
  auto second = forward(1);
  EXPECT_THROW(pipeline.stage(0).backward(std::move(first.state), {}, pipeline.store(0)),
               std::logic_error);  // the later slice comes first
  EXPECT_THROW(pipeline.stage(0).backward_weight(*second.state), std::logic_error);
  pipeline.store(0).clear();
}

TEST(StageModel, UnknownDtypeIsRefused) {
  StageModel::Options options;
  options.model = small_model();
  options.layers = {0, 3};
  options.dtype = at::kHalf;
  EXPECT_THROW(StageModel{options}, InputError);
}

TEST(StageModel, PartTimesAreMeasuredOnRequest) {
  StageModel::Options options;
  options.model = small_model();
  options.layers = {0, 3};
  options.embedding = options.head = true;
  for (const bool on : {false, true}) {
    options.time_parts = on;
    StageModel stage(options);
    KvStore store;
    const TokenLists sequences = mixed_batch(options.model);
    const ChunkWork chunk = mixed_chunks()[3];
    const ChunkTargets targets = Pipeline::targets_of(sequences, chunk, {}, 39.0);
    auto out = stage.forward(chunk, Pipeline::ids(sequences, chunk), &targets, store, true);
    stage.backward(std::move(out.state), {}, store);
    const PartTimes times = stage.take_part_times();
    for (const double part : {times.matmul, times.attention, times.elementwise, times.head})
      EXPECT_EQ(part > 0.0, on);
    EXPECT_EQ(stage.take_part_times().matmul, 0.0);
  }
}

}  // namespace
}  // namespace infinipipe
