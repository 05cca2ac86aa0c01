// Ranks that talk as processes do compute to the bit what threads that share memory do. Here they
// are threads of one process, each with a world of its own over Gloo.
#include "dist/ranks.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include "runtime/rank_server.h"
#include "runtime/remote_ranks.h"
#include "support/random_case.h"
#include "support/soak.h"

namespace infinipipe::testing {
namespace {

// All bits of what a process holds: weights, gradients and moments.
Json bits_of(LocalRanks& ranks, const Json&) {
  Json all = Json::object();
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    if (!tensor.defined()) return;
    const at::Tensor plain = tensor.contiguous();
    const auto* bytes = static_cast<const std::uint8_t*>(plain.const_data_ptr());
    all[name] = Json::binary(std::vector<std::uint8_t>(bytes, bytes + plain.nbytes()));
  };
  for (const auto& state : ranks.state()) {
    const std::string name = std::to_string(state.stage.value()) + "." + state.parameter->name;
    const AdamW::Moments moments = ranks.moments(state);
    if (!ranks.part().writes) continue;
    add(name, state.parameter->master);
    add(name + ".weight", state.parameter->weight);
    add(name + ".exp_avg", moments.exp_avg);
    add(name + ".exp_avg_sq", moments.exp_avg_sq);
  }
  return all;
}
constexpr ProcessJob kBits{"bits", &bits_of};

struct Outcome {
  double loss = 0.0;
  double loss_again = 0.0;  // after the update
  double grad_norm = 0.0;
  std::vector<std::vector<double>> token_losses;
  Json bits;
  std::size_t events = 0;
};

Outcome train_a_little(Engine& engine, const Case& c) {
  Outcome outcome;
  const StepResult first = engine.run(c.plan, c.batch);
  outcome.loss = first.loss;
  outcome.events = first.trace.events.size();
  outcome.grad_norm = engine.optimizer_step(0).grad_norm;
  engine.zero_grad();
  engine.state_changed();
  outcome.loss_again = engine.run(c.plan, c.batch).loss;
  outcome.bits = Json::object();
  for (const Json& part : engine.on_each_process(kBits, Json::object())) outcome.bits.update(part);
  return outcome;
}

Outcome over_gloo(const Case& c, Engine::Options options) {
  const int size = static_cast<int>(options.stages.size()) * options.replicas;
  const auto store = c10::make_intrusive<c10d::HashStore>();
  std::vector<std::thread> others;
  for (int rank = 1; rank < size; ++rank) {
    others.emplace_back([&store, rank, size] {
      Ranks ranks(store, rank, size);
      ServeOptions serving;
      serving.jobs = {&kBits};
      serve(ranks, serving);
    });
  }
  Outcome outcome;
  {
    Ranks ranks(store, 0, size);
    options.ranks = &ranks;
    {
      Engine engine(options);
      outcome = train_a_little(engine, c);
    }
    RemoteRanks(&ranks).dismiss();
    for (std::thread& other : others) other.join();
  }
  return outcome;
}

class RanksOverGloo : public ::testing::TestWithParam<std::tuple<Dtype, int>> {};
INSTANTIATE_TEST_SUITE_P(Dtypes, RanksOverGloo,
                         ::testing::Values(std::tuple(Dtype::kFloat64, 80),
                                           std::tuple(Dtype::kFloat32, 10),
                                           std::tuple(Dtype::kBfloat16, 10)));

TEST_P(RanksOverGloo, EqualThreadsToTheBit) {
  at::set_num_threads(1);
  const auto& [dtype, count] = GetParam();
  for (int i = 0; i < scaled(count); ++i) {
    Random random(2025, static_cast<std::uint64_t>(i));
    const Case c = make_case(random);
    Engine::Options options = engine_options(c.model, c.plan, dtype);
    options.check_messages = i % 2 == 0;
    options.head_block_tokens = 64;
    Outcome threads;
    {
      Engine engine(options);
      threads = train_a_little(engine, c);
    }
    const Outcome gloo = over_gloo(c, options);
    ASSERT_EQ(gloo.loss, threads.loss) << "case " << i;
    ASSERT_EQ(gloo.grad_norm, threads.grad_norm) << "case " << i;
    ASSERT_EQ(gloo.loss_again, threads.loss_again) << "case " << i;
    ASSERT_EQ(gloo.events, threads.events) << "case " << i;
    ASSERT_TRUE(gloo.bits == threads.bits) << "case " << i << ": weights or moments differ";
  }
}

}  // namespace
}  // namespace infinipipe::testing
