// The table of families: a stage's layers are the ones that it makes.
#include "model/models.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <map>
#include <stdexcept>

#include "core/model_tensors.h"
#include "unit/model/model_testing.h"

namespace infinipipe {
namespace {

StageModel::Options one_layer(int index) {
  StageModel::Options options;
  options.model = testing::small_model();
  options.layers = {index, index + 1};
  return options;
}

TEST(Models, AStageRunsTheTablesLayers) {
  const StageModel::Options options = one_layer(1);
  constexpr std::int64_t kTokens = 20;
  const at::Tensor input =
      testing::random_tensor({kTokens, options.model.hidden_size}, 1, options.dtype);
  StageModel stage(options);
  KvStore store;
  const ChunkWork chunk{{testing::slice_of(0, 0, kTokens, kTokens)}, 0};
  const StageModel::Output expected = stage.forward(chunk, input, nullptr, store, /*keep=*/true);

  StageParameters parameters;
  ParameterMaker make(options, parameters);
  const StageContext context;
  const auto layer = make_layer(options.model, 1, make, context);
  ASSERT_EQ(parameters.list.size(), stage.parameters().size());
  for (std::size_t i = 0; i < parameters.list.size(); ++i)
    EXPECT_EQ(parameters.list[i].name, stage.parameters()[i].name);
  const auto pass = layer->begin(input);
  const LayerChunk shared{
      at::arange(kTokens, at::kLong),
      kernels::rope_table(
          kTokens,
          rope_frequencies({}, options.model.rope_theta, options.model.resolved_head_dim(), 0, 0),
          at::dtype(options.dtype))};
  AttentionSlice slice;
  slice.end = kTokens;
  EXPECT_TRUE(at::equal(pass->forward(shared, {&slice, 1}), expected.output));
  EXPECT_EQ(pass->bytes(), expected.state->bytes());
}

// What the planning half says of a model's tensors is what a stage makes.
TEST(Models, ParametersAreThoseThatFoldersMustHold) {
  for (const FamilyRow& family : kFamilies) {
    for (const bool tied : {false, true}) {
      StageModel::Options options;
      options.model = testing::small_model();
      options.model.head_dim = 10;
      options.model.family = family.value;
      options.model.tie_word_embeddings = tied;
      options.layers = {0, static_cast<int>(options.model.num_hidden_layers)};
      options.embedding = options.head = true;
      StageModel stage(options);
      std::map<std::string, std::vector<std::int64_t>> made, said;
      std::int64_t count = 0;
      for (const Parameter& each : stage.parameters()) {
        made[each.name] = each.master.sizes().vec();
        count += each.master.numel();
      }
      for (const ModelTensor& each : model_tensors(options.model)) said[each.name] = each.shape;
      EXPECT_EQ(made, said) << family.name;
      EXPECT_EQ(count, options.model.parameters()) << family.name;
    }
  }
}

TEST(Models, AFamilyWithoutARowIsCaught) {
  StageModel::Options options = one_layer(0);
  options.model.family = static_cast<ModelFamily>(99);
  EXPECT_THROW(StageModel{options}, std::logic_error);
}

}  // namespace
}  // namespace infinipipe
