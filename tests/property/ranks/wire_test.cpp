#include "runtime/wire.h"

#include <ATen/ops/randn.h>
#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "infinipipe/base/error.h"
#include "infinipipe/core/plan_json.h"
#include "support/random_case.h"

namespace infinipipe::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Json through(const Json& message) { return wire::from_bytes(wire::to_bytes(message)); }
Command through(const Command& command, bool with_tokens) {
  return wire::command_from_json(through(wire::command_to_json(command, with_tokens)));
}
template <class Value>
Value through(const Value& value) {
  return std::get<Value>(wire::reply_from_json(through(wire::reply_to_json(value))));
}

TEST(Wire, StepsComeAsTheyWereSent) {
  for (std::uint64_t i = 0; i < 20; ++i) {
    Random random(8, i);
    const Case c = make_case(random);
    const StepInput input(c.plan, c.batch);
    const RunStep sent{std::shared_ptr<const StepInput>(std::shared_ptr<void>(), &input)};
    const auto whole = std::get<RunStep>(through(sent, true));
    EXPECT_EQ(plan_to_json(whole.input->plan), plan_to_json(c.plan));
    EXPECT_EQ(whole.input->batch.sequences, c.batch.sequences);
    for (std::size_t s = 0; s < c.batch.weights.size(); ++s)
      EXPECT_EQ(whole.input->batch.weights[s], c.batch.weights[s]);
    EXPECT_EQ(whole.input->normalizer, input.normalizer);
    EXPECT_EQ(whole.input->cut, input.cut);
    const auto planned = std::get<RunStep>(through(sent, false));
    EXPECT_EQ(plan_hash(planned.input->plan), plan_hash(c.plan));
    EXPECT_TRUE(planned.input->batch.sequences.empty()) << "tokens travel to who needs them";
  }
}

TEST(Wire, OtherCommandsToo) {
  EXPECT_EQ(std::get<OptimizerStep>(through(OptimizerStep{7}, false)).step, 7);
  EXPECT_TRUE(std::holds_alternative<ZeroGrad>(through(ZeroGrad{}, true)));
  EXPECT_TRUE(std::holds_alternative<StateChanged>(through(StateChanged{}, true)));
  EXPECT_TRUE(std::holds_alternative<ForgetText>(through(ForgetText{}, true)));
  const auto text = std::get<NextLogits>(through(NextLogits{{3, 1, 4}, 2, 5, true}, true));
  EXPECT_THAT(text.tokens, ElementsAre(3, 1, 4));
  EXPECT_EQ(text.last, 2);
  EXPECT_EQ(text.begin, 5);
  EXPECT_TRUE(text.goes_on);
}

TEST(Wire, AChangedPlanIsRefused) {
  Random random(8);
  const Case c = make_case(random);
  const StepInput input(c.plan, c.batch);
  Json json = wire::command_to_json(
      RunStep{std::shared_ptr<const StepInput>(std::shared_ptr<void>(), &input)}, false);
  json["plan"]["step"] = 12345;
  EXPECT_THROW(wire::command_from_json(json), InputError);
  EXPECT_THROW(wire::command_from_json({{"command", "sing"}}), RunError);
  EXPECT_THROW(wire::from_bytes("no message"), RunError);
}

TEST(Wire, MeasurementsKeepAllTheirBits) {
  StageRun run;
  run.loss = 0.1 + 1e-17;
  run.terms = {{1.0 / 3.0, std::numeric_limits<double>::infinity()}, {}};
  TraceEvent event;
  event.replica = ReplicaId(1);
  event.stage = StageId(2);
  event.instruction = {Op::kInputGrad, PipelineId(3), ChunkId(4)};
  event.ready = 0.1;
  event.begin = 0.2;
  event.end = 0.7;
  event.recompute = 1e-9;
  run.events = {event, event};
  run.transfers = {{ReplicaId(1), StageId(0), StageId(1), event.instruction, 0.3, 0.4, 1e9}};
  MemorySample sample;
  sample.stage = StageId(2);
  sample.at = 0.5;
  sample.bytes[3] = 12345678901.0;
  run.memory = {sample};
  run.parts.head = 0.25;
  run.peak_bytes = (std::int64_t{1} << 52) + 1;
  run.reserved_bytes = 5;
  run.not_finite = "layer 3: its output";
  run.not_finite_at = 0.125;
  const StageRun found = through(run);
  EXPECT_EQ(found.loss, run.loss);
  EXPECT_EQ(found.terms, run.terms);
  ASSERT_EQ(found.events.size(), 2U);
  EXPECT_EQ(found.events[1].instruction, event.instruction);
  EXPECT_EQ(found.events[1].replica, event.replica);
  EXPECT_EQ(found.events[1].stage, event.stage);
  EXPECT_EQ(found.events[1].ready, event.ready);
  EXPECT_EQ(found.events[1].end, event.end);
  EXPECT_EQ(found.events[1].recompute, event.recompute);
  EXPECT_EQ(found.transfers.at(0).to, StageId(1));
  EXPECT_EQ(found.transfers[0].bytes, 1e9);
  EXPECT_EQ(found.memory.at(0).bytes, sample.bytes);
  EXPECT_EQ(found.memory[0].at, sample.at);
  EXPECT_EQ(found.parts.head, run.parts.head);
  EXPECT_EQ(found.peak_bytes, run.peak_bytes);
  EXPECT_EQ(found.reserved_bytes, run.reserved_bytes);
  EXPECT_EQ(found.not_finite, run.not_finite);
  EXPECT_EQ(found.not_finite_at, run.not_finite_at);

  StageExecutor::Update update{std::nan(""), 1e-3, true, "the gradient of x"};
  const auto again = through(update);
  EXPECT_TRUE(std::isnan(again.grad_norm));
  EXPECT_EQ(again.lr, update.lr);
  EXPECT_TRUE(again.skipped);
  EXPECT_EQ(again.not_finite, update.not_finite);

  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const at::Tensor tensor = at::randn({3, 5}, dtype);
    EXPECT_TRUE(through(tensor).equal(tensor));
  }
  EXPECT_FALSE(through(at::Tensor()).defined());
}

TEST(Wire, EnginesAreMadeOfTheSameOptions) {
  EngineOptions options;
  options.model = small_model(5);
  options.model.rope.type = RopeType::kYarn;
  options.model.rope.factor = 4.0;
  options.model.rope.original_max_position_embeddings = 16;
  options.stages = {{0, 2}, {2, 5}};
  options.replicas = 3;
  options.dtype = Dtype::kBfloat16;
  options.threads_per_stage = 7;
  options.seed = 99;
  options.longest = 12345;
  options.optimizer.lr = 1.0 / 3.0;
  options.optimizer.lr_schedule = LrSchedule::kWarmupStableDecay;
  options.only = {"q_proj", "norm"};
  options.total_steps = 321;
  options.check_messages = true;
  options.pooled_allocator = false;
  options.time_parts = true;
  options.check_finite = true;
  options.nccl = true;
  options.head_block_tokens = 17;
  const EngineOptions found = wire::options_from_json(through(wire::options_to_json(options)));
  EXPECT_EQ(model_to_json(found.model), model_to_json(options.model));
  EXPECT_EQ(found.stages, options.stages);
  EXPECT_EQ(found.replicas, options.replicas);
  EXPECT_EQ(found.dtype, options.dtype);
  EXPECT_EQ(found.device, options.device);
  EXPECT_EQ(found.threads_per_stage, options.threads_per_stage);
  EXPECT_EQ(found.seed, options.seed);
  EXPECT_EQ(found.longest, options.longest);
  EXPECT_EQ(found.optimizer.lr, options.optimizer.lr);
  EXPECT_EQ(found.optimizer.lr_schedule, options.optimizer.lr_schedule);
  EXPECT_EQ(found.only, options.only);
  EXPECT_EQ(found.total_steps, options.total_steps);
  EXPECT_EQ(found.check_messages, options.check_messages);
  EXPECT_EQ(found.pooled_allocator, options.pooled_allocator);
  EXPECT_EQ(found.time_parts, options.time_parts);
  EXPECT_EQ(found.check_finite, options.check_finite);
  EXPECT_EQ(found.nccl, options.nccl);
  EXPECT_EQ(found.head_block_tokens, options.head_block_tokens);
}

}  // namespace
}  // namespace infinipipe::testing
