// A plan, the options of an engine for it, and a batch.
#pragma once

#include "runtime/engine.h"
#include "support/engine_case.h"
#include "unit/core/test_plans.h"

namespace infinipipe::testing {

struct StepFixture {
  StepFixture(const PlanShape& shape, Dtype dtype, int shards = 1) : plan(make_plan(shape)) {
    plan.step = 17;
    plan.parallelism.sequence_parallel = shards;
    options = engine_options(small_model(shape.stages * shape.layers_per_stage), plan, dtype);
    Random random(3);
    batch = random_batch(random, plan.sequences, options.model.vocab_size);
  }
  Plan plan;
  Engine::Options options;
  Batch batch;
};

}  // namespace infinipipe::testing
