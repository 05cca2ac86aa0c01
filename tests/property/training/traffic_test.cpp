// What ranks give each other is what the plan and the profile say, to the byte.
#include <gtest/gtest.h>

#include "core/token_shares.h"
#include "infinipipe/cost/profile.h"
#include "support/engine_case.h"
#include "support/random_case.h"
#include "support/soak.h"

namespace infinipipe::testing {
namespace {

// Bytes that all shards together give in a stage's exchanges.
Bytes exchanged(const Case& c, const Profile& profile, StageId stage) {
  const double layers = c.plan.layer_count();
  const double own_layers = c.plan.stages[stage.index()].count();
  Bytes sum = 0.0;
  for (const Replica& replica : c.plan.replicas) {
    for (const Instruction& i : replica.instructions[stage.index()]) {
      const Chunk& chunk = replica.chunk(i);
      const bool alone = chunk.degree == 1 || c.plan.parallelism.sequence_parallel == 1;
      if (i.op == Op::kWeightGrad || alone) continue;
      const auto tokens = static_cast<double>(chunk.tokens());
      sum += profile.links.all_to_all_bytes_per_token * own_layers / layers * tokens;
      if (!starts_backward(i.op)) continue;
      for (const KeepLevel& level : kKeepLevels) {
        if (level.keep == Keep::kAll) continue;
        sum +=
            chunk.kept_on(stage)[level.keep] * profile.exchanged_again(level.keep, layers) * tokens;
      }
    }
  }
  return sum;
}

TEST(Traffic, OfExchangesAndMessagesIsThePlans) {
  int with_shards = 0;
  int apart = 0;  // chunks that nobody exchanges anything of
  for (int n = 0; n < scaled(60); ++n) {
    Random random(181, static_cast<std::uint64_t>(n));
    Case c = make_sharded_case(random);
    const int shards = c.plan.parallelism.sequence_parallel;
    c.model.num_attention_heads = 12;  // even shares of both
    c.model.num_key_value_heads = 12;
    const Profile profile = estimated_profile(c.model, Dtype::kFloat32);
    Engine engine(engine_options(c.model, c.plan, Dtype::kFloat32));
    const StepResult result = engine.run(c.plan, c.batch);
    for (std::size_t p = 0; p < c.plan.stages.size(); ++p) {
      const Bytes expected = exchanged(c, profile, StageId(p));
      EXPECT_NEAR(result.exchanged_bytes[p], expected, 1e-6 * expected) << "case " << n;
      with_shards += expected > 0.0 ? 1 : 0;
    }
    for (const TransferEvent& transfer : result.trace.transfers) {
      const Chunk& chunk = c.plan.replicas[transfer.replica.index()].chunk(transfer.producer);
      Tokens own = token_share(chunk.tokens(), 0, shards).count();  // of the first shard
      if (chunk.degree > 0) {
        Tokens tokens = 0;
        for (int i = 0; i < chunk.groups[0]; ++i)
          tokens += chunk.slices[static_cast<std::size_t>(i)].tokens();
        own = token_share(tokens, 0, chunk.degree).count();
        apart += chunk.degree == 1 ? 1 : 0;
      }
      EXPECT_EQ(transfer.bytes, 4.0 * static_cast<double>(own * c.model.hidden_size));
    }
  }
  EXPECT_GT(with_shards, 30);
  EXPECT_GT(apart, 20);
}

}  // namespace
}  // namespace infinipipe::testing
