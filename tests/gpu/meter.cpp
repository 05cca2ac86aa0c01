// The stages' memory meter against the device's own allocator, and what happens when memory runs
// out.
#include <c10/core/CachingDeviceAllocator.h>

#include "gpu/calls.h"
#include "infinipipe/base/error.h"
#include "support/random_case.h"

namespace infinipipe::gpu_check {
namespace {

struct Step {
  Plan plan;
  Batch batch;
  Engine::Options options;
};

Step make_step(const Setting& setting) {
  Step step;
  ModelSpec model = testing::small_model(4, setting.small ? 64 : 1024);
  model.intermediate_size = setting.small ? 128 : 4096;
  model.num_attention_heads = setting.small ? 2 : 16;
  model.vocab_size = setting.small ? 61 : 32000;
  const std::vector<Tokens> lengths =
      setting.small ? std::vector<Tokens>{90, 30} : std::vector<Tokens>{6000, 900, 900};
  Random random(12);
  step.plan = testing::random_plan(random, lengths, {.stages = 1, .layers = 4});
  step.batch = testing::random_batch(random, lengths, model.vocab_size);
  step.options = testing::engine_options(model, step.plan, Dtype::kBfloat16);
  step.options.device = setting.device;
  step.options.threads_per_stage = 8;
  take_path(step.options, setting);
  return step;
}

std::int64_t live() {
  return c10::getDeviceAllocator(at::kCUDA)->getDeviceStats(0).allocated_bytes[0].current;
}

void check_peak(const Step& step, Report& report) {
  c10::DeviceAllocator* const allocator = c10::getDeviceAllocator(at::kCUDA);
  const std::int64_t before = live();
  {
    Engine engine(step.options);
    engine.run(step.plan, step.batch);  // libraries take their workspace
    engine.zero_grad();
    allocator->resetPeakStats(0);
    const std::int64_t between = live();
    const StepResult result = engine.run(step.plan, step.batch);
    report.at_most("bytes left after a step", std::abs(static_cast<double>(live() - between)), 0.0);
    const auto stats = allocator->getDeviceStats(0);
    const auto peak = static_cast<double>(stats.allocated_bytes[0].peak - before);
    report.value("peak.meter", result.peak_bytes[0], "B");
    report.value("peak.allocator", peak, "B");
    report.value("peak.reserved", static_cast<double>(stats.reserved_bytes[0].peak), "B");
    report.at_most("meter's peak against the allocator's",
                   std::abs(result.peak_bytes[0] - peak) / peak, 0.0);
  }
  // Libraries keep their workspace.
  report.value("left after the engine", static_cast<double>(live() - before), "B");
}

// All but a little of the memory is taken, so that a step must fail; then it is given back.
void check_out_of_memory(const Step& step, Report& report) {
  Engine engine(step.options);
  const double loss = engine.run(step.plan, step.batch).loss;
  c10::getDeviceAllocator(at::kCUDA)->emptyCache();
  std::string told;
  {
    const auto free =
        static_cast<std::int64_t>(c10::getDeviceAllocator(at::kCUDA)->getMemoryInfo(0).first);
    const at::Tensor taken = at::empty({free - (std::int64_t{48} << 20)},
                                       at::TensorOptions(at::kByte).device(at::kCUDA));
    try {
      engine.zero_grad();
      engine.run(step.plan, step.batch);
    } catch (const RunError& error) {
      told = error.what();
    }
  }
  c10::getDeviceAllocator(at::kCUDA)->emptyCache();
  report.holds("out of memory is said in one line",
               !told.empty() && told.find('\n') == std::string::npos, told.substr(0, 400));
  engine.zero_grad();
  report.at_most("a run after it", std::abs(engine.run(step.plan, step.batch).loss - loss) / loss,
                 1e-3);
}

}  // namespace

void check_meter(const Setting& setting, Report& report) {
  const Step step = make_step(setting);
  if (setting.gpu()) {
    check_peak(step, report);
    check_out_of_memory(step, report);
    return;
  }
  Engine engine(step.options);
  report.value("peak.meter", engine.run(step.plan, step.batch).peak_bytes[0], "B");
  report.skipped("peak.allocator", "needs a GPU");
  report.skipped("out of memory", "needs a GPU");
}

}  // namespace infinipipe::gpu_check
