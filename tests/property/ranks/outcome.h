// What a run of a few steps leaves, to the bit, however its ranks talk.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/engine.h"
#include "support/random_case.h"

namespace infinipipe::testing {

// All bits of what a process holds: weights, gradients and moments.
inline Json bits_of(LocalRanks& ranks, const Json&) {
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
inline constexpr ProcessJob kBits{"bits", &bits_of};

struct Outcome {
  double loss = 0.0;
  double loss_again = 0.0;  // after the update
  double grad_norm = 0.0;
  std::vector<std::vector<double>> token_losses;  // of an evaluation
  std::vector<std::string> events;                // without their times, by rank
  Json bits;
};

// The plan's forwards alone.
inline Plan evaluation_of(Plan plan) {
  for (Replica& replica : plan.replicas) {
    for (Pipeline& pipeline : replica.pipelines) pipeline.backward.clear();
    for (auto& stage : replica.instructions)
      std::erase_if(stage, [](const Instruction& each) { return each.op != Op::kForward; });
  }
  return plan;
}

inline Outcome train_a_little(Engine& engine, const Case& c) {
  Outcome outcome;
  const StepResult first = engine.run(c.plan, c.batch);
  outcome.loss = first.loss;
  for (const TraceEvent& event : first.trace.events)
    outcome.events.push_back(std::to_string(event.replica.value()) + "." +
                             std::to_string(event.stage.value()) + " " +
                             to_string(event.instruction));
  outcome.grad_norm = engine.optimizer_step(0).grad_norm;
  engine.zero_grad();
  engine.state_changed();
  outcome.loss_again = engine.run(c.plan, c.batch).loss;
  outcome.token_losses = engine.run(evaluation_of(c.plan), c.batch).token_losses;
  outcome.bits = Json::object();
  for (const Json& part : engine.on_each_process(kBits, Json::object())) outcome.bits.update(part);
  return outcome;
}

// The case as a run of threads that share memory.
inline Outcome as_threads(const Case& c, const Engine::Options& options) {
  Engine engine(options);
  return train_a_little(engine, c);
}

inline Engine::Options options_of(const Case& c, Dtype dtype, bool check_messages) {
  Engine::Options options = engine_options(c.model, c.plan, dtype);
  options.check_messages = check_messages;
  options.head_block_tokens = 64;
  return options;
}

inline void expect_same(const Outcome& found, const Outcome& expected, const std::string& what) {
  EXPECT_EQ(found.loss, expected.loss) << what;
  EXPECT_EQ(found.grad_norm, expected.grad_norm) << what;
  EXPECT_EQ(found.loss_again, expected.loss_again) << what;
  EXPECT_EQ(found.token_losses, expected.token_losses) << what;
  EXPECT_EQ(found.events, expected.events) << what;
  EXPECT_TRUE(found.bits == expected.bits) << what << ": weights or moments differ";
}

}  // namespace infinipipe::testing
