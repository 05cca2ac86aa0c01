#include "runtime/engine.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <set>

#include "infinipipe/base/error.h"
#include "infinipipe/core/validate.h"
#include "runtime/allocator.h"
#include "support/engine_case.h"
#include "unit/core/test_plans.h"
#include "unit/runtime/step_fixture.h"

namespace infinipipe {
namespace {

using testing::BackwardStyle;
using ::testing::HasSubstr;
using testing::make_plan;
using testing::PlanShape;
using ::testing::StartsWith;

// Two stages of two layers; two pipelines of a sequence in 3 slices and 3 short ones.
struct Fixture : testing::StepFixture {
  explicit Fixture(const PlanShape& shape = {}, Dtype dtype = Dtype::kFloat32)
      : StepFixture(shape, dtype) {}
};

bool same_gradients(Engine& a, Engine& b) {
  const auto left = testing::gradients(a);
  const auto right = testing::gradients(b);
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [](const auto& x, const auto& y) {
                      return x.first == y.first && at::equal(x.second, y.second);
                    });
}

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Engine, GradientsAccumulateOverRuns) {
  Fixture f({}, Dtype::kFloat64);
  Engine once(f.options);
  once.run(f.plan, f.batch);
  Engine twice(f.options);
  twice.run(f.plan, f.batch);
  twice.run(f.plan, f.batch);
  const auto single = testing::gradients(once);
  for (const auto& [name, grad] : testing::gradients(twice))
    EXPECT_LT(testing::relative_error(grad, 2 * single.at(name)), 1e-12) << name;
  twice.zero_grad();
  for (const auto& [name, grad] : testing::gradients(twice))
    EXPECT_EQ(grad.abs().max().item<double>(), 0.0) << name;
}

TEST(Engine, OrderOfWeightGradientsDoesNotMatter) {
  Fixture whole({}, Dtype::kFloat64);
  Engine reference(whole.options);
  const double loss = reference.run(whole.plan, whole.batch).loss;
  for (const BackwardStyle style : {BackwardStyle::kSplit, BackwardStyle::kDelayed}) {
    PlanShape shape;
    shape.style = style;
    Fixture f(shape, Dtype::kFloat64);
    // W in the opposite order of their I, where they stand together.
    for (auto& list : f.plan.replicas[0].instructions) {
      const auto weights = std::stable_partition(
          list.begin(), list.end(), [](const Instruction& i) { return i.op != Op::kWeightGrad; });
      std::reverse(weights, list.end());
    }
    ASSERT_FALSE(validate(f.plan).has_value());
    Engine engine(f.options);
    EXPECT_EQ(engine.run(f.plan, f.batch).loss, loss);
    const auto expected = testing::gradients(reference);
    for (const auto& [name, grad] : testing::gradients(engine))
      EXPECT_LT(testing::relative_error(grad, expected.at(name)), 1e-12) << name;
  }
}

TEST(Engine, ForwardOnlyPlanEvaluates) {
  PlanShape shape;
  Fixture trained(shape);
  shape.style = BackwardStyle::kNone;
  Fixture f(shape);
  f.options.check_messages = true;
  Engine engine(f.options);
  const StepResult result = engine.run(f.plan, f.batch);
  Engine other(trained.options);
  EXPECT_EQ(result.loss, other.run(trained.plan, trained.batch).loss);
  for (const auto& [name, grad] : testing::gradients(engine))
    EXPECT_EQ(grad.abs().max().item<double>(), 0.0) << name;
  EXPECT_EQ(result.trace.events.size(), 2 * 2 * 5U);  // stages x pipelines x chunks
  EXPECT_LT(result.peak_activation_bytes[0],
            other.run(trained.plan, trained.batch).peak_activation_bytes[0]);
}

TEST(Engine, TraceTellsWhatRan) {
  PlanShape shape;
  shape.stages = 3;
  shape.style = BackwardStyle::kDelayed;
  Fixture f(shape);
  f.options.time_parts = true;
  Engine engine(f.options);
  const StepResult result = engine.run(f.plan, f.batch);
  const Trace& trace = result.trace;
  EXPECT_EQ(trace.source, "measured");
  EXPECT_EQ(trace.step, 17);
  EXPECT_GT(trace.seconds, 0.0);
  EXPECT_GT(trace.bubble(), 0.0);
  EXPECT_LT(trace.bubble(), 1.0);

  std::size_t n = 0;
  Seconds first = 1.0;
  Seconds last = 0.0;
  Seconds recomputed = 0.0;
  for (std::size_t p = 0; p < 3; ++p) {
    Seconds free = 0.0;
    for (const Instruction& instruction : f.plan.replicas[0].instructions[p]) {
      const TraceEvent& event = trace.events.at(n++);
      EXPECT_EQ(event.stage, StageId(p));
      EXPECT_EQ(event.instruction, instruction);
      EXPECT_LE(free, event.begin);
      EXPECT_LE(event.ready, event.begin);
      EXPECT_LE(event.begin, event.end);
      EXPECT_LE(event.recompute, event.end - event.begin);
      free = event.end;
      first = std::min(first, event.begin);
      last = std::max(last, event.end);
      recomputed += event.recompute;
    }
    EXPECT_GT(result.parts[p].matmul, 0.0);
    EXPECT_GT(result.parts[p].attention, 0.0);
  }
  EXPECT_EQ(n, trace.events.size());
  EXPECT_EQ(first, 0.0);
  EXPECT_DOUBLE_EQ(last, trace.seconds);
  EXPECT_GT(recomputed, 0.0);

  // Every chunk goes down over two links and its gradient comes up again.
  EXPECT_EQ(trace.transfers.size(), 2U * 2U * 10U);
  for (const TransferEvent& transfer : trace.transfers) {
    const Tokens tokens = f.plan.replicas[0].chunk(transfer.producer).tokens();
    EXPECT_EQ(transfer.bytes, static_cast<Bytes>(tokens * 16 * 4));
    const int step = transfer.producer.op == Op::kForward ? 1 : -1;
    EXPECT_EQ(transfer.to.value(), transfer.from.value() + step);
  }
}

TEST(Engine, MemorySamplesEndWhereTheyBegan) {
  PlanShape shape;
  shape.slices = 4;
  Fixture f(shape);
  Engine engine(f.options);
  engine.run(f.plan, f.batch);
  const StepResult result = engine.run(f.plan, f.batch);
  const auto bytes = [](const MemorySample& sample, MemoryPurpose purpose) {
    return sample.bytes[static_cast<std::size_t>(purpose)];
  };
  std::vector<Bytes> peak(2, 0.0);
  std::vector<const MemorySample*> last(2, nullptr);
  Bytes kv = 0.0;
  Bytes kv_grad = 0.0;
  for (const MemorySample& sample : result.trace.memory) {
    const std::size_t p = sample.stage.index();
    Bytes sum = 0.0;
    for (const Bytes each : sample.bytes) sum += each;
    peak[p] = std::max(peak[p], sum);
    last[p] = &sample;
    kv = std::max(kv, bytes(sample, MemoryPurpose::kKv));
    kv_grad = std::max(kv_grad, bytes(sample, MemoryPurpose::kKvGrad));
    EXPECT_EQ(bytes(sample, MemoryPurpose::kOptimizer),
              2 * bytes(sample, MemoryPurpose::kGradients));
  }
  EXPECT_GT(kv, 0.0);  // some layers of cut sequences are recomputed
  EXPECT_GT(kv_grad, 0.0);
  for (std::size_t p = 0; p < 2; ++p) {
    EXPECT_EQ(bytes(*last[p], MemoryPurpose::kActivations), 0.0);
    EXPECT_EQ(bytes(*last[p], MemoryPurpose::kKv), 0.0);
    EXPECT_EQ(bytes(*last[p], MemoryPurpose::kKvGrad), 0.0);
    if (p == 0) {  // what stage 1 sent may still wait
      EXPECT_EQ(bytes(*last[p], MemoryPurpose::kTransfers), 0.0);
    }
    EXPECT_GE(peak[p], result.peak_bytes[p] * (1 - 1e-9));
    EXPECT_LE(peak[p], result.peak_bytes[p] * 1.1);
    EXPECT_LT(result.peak_activation_bytes[p], result.peak_bytes[p]);
    EXPECT_LE(result.largest_allocation[p], result.peak_bytes[p]);
  }
}

// Every instruction of every stage fails once; the others stop, and the engine goes on.
TEST(Engine, FailureAnywhereStopsTheStepAndIsNamed) {
  PlanShape shape;
  shape.stages = 3;
  shape.pipelines = 1;
  shape.style = BackwardStyle::kSplit;
  Fixture f(shape);
  Engine undisturbed(f.options);
  const double loss = undisturbed.run(f.plan, f.batch).loss;

  std::atomic<int> countdown{0};
  f.options.before_instruction = [&](int step, StageId, const Instruction&) {
    EXPECT_EQ(step, 17);
    if (--countdown == 0) throw std::runtime_error("a broken fan");
  };
  Engine engine(f.options);
  int total = 0;
  for (const auto& list : f.plan.replicas[0].instructions) total += static_cast<int>(list.size());
  std::set<std::string> places;
  for (int n = 1; n <= total; n += 2) {
    countdown = n;
    const std::string what = error_of([&] { engine.run(f.plan, f.batch); });
    ASSERT_THAT(what, StartsWith("step 17: stage "));
    ASSERT_THAT(what, HasSubstr(": a broken fan"));
    places.insert(what);
    // That it returns is the point: the others would wait for the failed stage's messages for ever.
    // How far they get before they hear of it depends on the machine's load.
  }
  EXPECT_GT(places.size(), 10U);
  countdown = 0;
  engine.zero_grad();
  EXPECT_EQ(engine.run(f.plan, f.batch).loss, loss);
  EXPECT_TRUE(same_gradients(engine, undisturbed));
  EXPECT_TRUE(std::isfinite(engine.optimizer_step(0).grad_norm));
}

TEST(Engine, TensorErrorsKeepToOneLine) {
  Fixture f;
  f.options.before_instruction = [](int, StageId stage, const Instruction& i) {
    if (stage == StageId(1) && i.op == Op::kBackward) at::empty({2, 3}).mm(at::empty({2, 3}));
  };
  Engine engine(f.options);
  const std::string what = error_of([&] { engine.run(f.plan, f.batch); });
  EXPECT_THAT(what, StartsWith("step 17: stage 1, B0.2: mat1 and mat2"));
  EXPECT_THAT(what, ::testing::Not(HasSubstr("frame #")));
}

TEST(Engine, SaysWhatItHeldWhereADeviceHadNoMemoryLeft) {
  Fixture f;
  f.options.before_instruction = [](int, StageId stage, const Instruction&) {
    if (stage == StageId(1)) {
      TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried 2.00 GiB.\nAdvice.");
    }
  };
  Engine engine(f.options);
  const std::string what = error_of([&] { engine.run(f.plan, f.batch); });
  EXPECT_THAT(what, HasSubstr(": CUDA out of memory. Tried 2.00 GiB. The stage's tensors take "));
  EXPECT_THAT(what, HasSubstr("lower memory.bytes_per_stage"));
  EXPECT_THAT(what, ::testing::Not(HasSubstr("Advice")));
}

TEST(Engine, RefusesWhatItCannotRun) {
  Fixture f;
  Engine engine(f.options);
  const auto refusal = [&](const std::function<void(Fixture&)>& change) {
    Fixture changed;
    change(changed);
    return error_of([&] { engine.run(changed.plan, changed.batch); });
  };
  EXPECT_THAT(refusal([](Fixture& c) { c.plan.parallelism.sequence_parallel = 2; }),
              HasSubstr("sequence_parallel: found 2, expected the engine's 1"));
  EXPECT_THAT(refusal([](Fixture& c) { c.plan = make_plan({.replicas = 2, .pipelines = 1}); }),
              HasSubstr("data_parallel: found 2, expected the engine's 1"));
  EXPECT_THAT(refusal([](Fixture& c) { c.plan = make_plan({.stages = 4, .layers_per_stage = 1}); }),
              HasSubstr("another split of the layers"));
  EXPECT_THAT(refusal([](Fixture& c) { c.plan.replicas[0].instructions[1].pop_back(); }),
              HasSubstr("replica 0, stage 1"));
  EXPECT_THAT(refusal([](Fixture& c) { c.batch.sequences[0][1] = 31; }),
              HasSubstr("found token id 31"));
  EXPECT_EQ(refusal([](Fixture&) {}), "no error");
}

TEST(Engine, RefusesOptionsThatCannotBe) {
  const auto refusal = [](const std::function<void(Engine::Options&)>& change) {
    Fixture f;
    change(f.options);
    return error_of([&] { const Engine engine(f.options); });
  };
  EXPECT_THAT(refusal([](Engine::Options& o) { o.threads_per_stage = 0; }),
              HasSubstr("threads_per_stage"));
  EXPECT_THAT(refusal([](Engine::Options& o) { o.replicas = 0; }), HasSubstr("data_parallel"));
  EXPECT_THAT(refusal([](Engine::Options& o) { o.stages.pop_back(); }),
              HasSubstr("found 2 layers, expected the model's 4"));
  EXPECT_THAT(refusal([](Engine::Options& o) { o.stages[1].begin = 3; }),
              HasSubstr("expected at least one layer from layer 2"));
  EXPECT_THAT(refusal([](Engine::Options& o) { o.model.hidden_size = -1; }), HasSubstr("model"));
}

TEST(Engine, SkipsUpdatesThatAreNotFinite) {
  Fixture f;
  Engine engine(f.options);
  engine.run(f.plan, f.batch);
  auto state = engine.state();
  const at::Tensor before = state[0].parameter->master.clone();
  state[2].parameter->grad.view({-1})[0] = std::numeric_limits<float>::quiet_NaN();
  Engine::Update update = engine.optimizer_step(0);
  EXPECT_TRUE(update.skipped);
  EXPECT_TRUE(std::isnan(update.grad_norm));
  for (const auto& each : engine.state()) {
    EXPECT_EQ(engine.moments(each).exp_avg.abs().max().item<double>(), 0.0);
    EXPECT_TRUE(each.parameter->master.isfinite().all().item<bool>());
  }
  EXPECT_TRUE(at::equal(before, state[0].parameter->master));
  engine.zero_grad();
  engine.run(f.plan, f.batch);
  update = engine.optimizer_step(0);
  EXPECT_FALSE(update.skipped);
  EXPECT_GT(update.grad_norm, 0.0);
  EXPECT_GT(update.lr, 0.0);
  EXPECT_FALSE(at::equal(before, state[0].parameter->master));
}

TEST(Engine, StateMovesBetweenSplitsOfTheLayers) {
  for (const bool tied : {false, true}) {
    Fixture four({.stages = 4, .layers_per_stage = 1});
    four.options.model.tie_word_embeddings = tied;
    Engine source(four.options);
    source.run(four.plan, four.batch);
    source.optimizer_step(0);

    Fixture two({.stages = 2, .layers_per_stage = 2});
    two.options.model.tie_word_embeddings = tied;
    two.options.seed = 5;  // other weights to begin with
    Engine target(two.options);
    std::map<std::string, Engine::StateTensor> by_name;
    for (const auto& each : source.state()) by_name.emplace(each.parameter->name, each);
    for (const auto& each : target.state()) {
      if (each.parameter->tied_copy) continue;  // state_changed() brings it in line
      const auto& from = by_name.at(each.parameter->name);
      each.parameter->master.copy_(from.parameter->master);
      target.set_moments(each, source.moments(from));
    }
    target.state_changed();
    for (Engine* engine : {&source, &target}) engine->zero_grad();
    EXPECT_NEAR(source.run(four.plan, four.batch).loss, target.run(two.plan, two.batch).loss, 1e-6);
    EXPECT_NEAR(source.optimizer_step(1).grad_norm, target.optimizer_step(1).grad_norm, 1e-5);
    for (const auto& each : target.state()) {
      const at::Tensor& expected = by_name.at(each.parameter->name).parameter->master;
      EXPECT_LT(testing::relative_error(each.parameter->master, expected), 1e-4)
          << each.parameter->name;
    }
  }
}

TEST(Engine, LogitsAreThoseOfThePlainModel) {
  for (const int stages : {1, 2}) {
    Fixture f({.stages = stages, .layers_per_stage = 4 / stages}, Dtype::kFloat64);
    f.options.check_messages = true;
    Engine engine(f.options);
    const std::vector<std::int64_t> tokens = {3, 1, 4, 1, 5, 9, 2, 6};
    const at::Tensor logits = engine.all_logits(tokens)[7];
    const at::Tensor expected = testing::reference_of(engine).logits(tokens)[7].detach();
    ASSERT_EQ(logits.sizes(), expected.sizes());
    EXPECT_LT(testing::relative_error(logits, expected), 1e-12);
    EXPECT_THROW(engine.all_logits({3, 31}), InputError);
    EXPECT_GT(engine.run(f.plan, f.batch).loss, 0.0);  // nothing was left behind
  }
}

TEST(Engine, PlainAllocatorGivesTheSameBits) {
  Fixture f;
  Engine pooled(f.options);
  const double loss = pooled.run(f.plan, f.batch).loss;
  f.options.pooled_allocator = false;
  Engine plain(f.options);
  EXPECT_FALSE(memory::pooled());
  EXPECT_EQ(plain.run(f.plan, f.batch).loss, loss);
  EXPECT_TRUE(same_gradients(pooled, plain));
  memory::set_pooled(true);
}

}  // namespace
}  // namespace infinipipe
