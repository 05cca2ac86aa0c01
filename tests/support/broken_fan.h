// An exception on a rank, at one instruction after the other.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <stdexcept>
#include <string>

#include "infinipipe/base/error.h"
#include "runtime/engine.h"

namespace infinipipe::testing {

// Runs the plan with an exception at every third of its first instructions on any rank. Each must
// be named, with the plan's step; returns the numbers that stood behind `word` ("replica "). After
// them the engine must go on, with the loss that it had before.
inline std::set<char> named_in_failures(Engine::Options options, const Plan& plan,
                                        const Batch& batch, const std::string& word) {
  std::atomic<int> countdown{0};
  options.before_instruction = [&](int, StageId, const Instruction&) {
    if (countdown > 0 && --countdown == 0) throw std::runtime_error("a broken fan");
  };
  Engine engine(options);
  const double loss = engine.run(plan, batch).loss;
  std::set<char> named;
  for (int n = 1; n <= 40; n += 3) {
    countdown = n;
    try {
      engine.run(plan, batch);
      ADD_FAILURE() << "it went well";
    } catch (const RunError& error) {
      const std::string what = error.what();
      EXPECT_THAT(what, ::testing::HasSubstr("step " + std::to_string(plan.step) + ": "));
      EXPECT_THAT(what, ::testing::HasSubstr(": a broken fan"));
      const std::size_t at = what.find(word);
      EXPECT_NE(at, std::string::npos) << what;
      if (at != std::string::npos) named.insert(what[at + word.size()]);
    }
  }
  engine.zero_grad();
  EXPECT_EQ(engine.run(plan, batch).loss, loss);
  return named;
}

}  // namespace infinipipe::testing
