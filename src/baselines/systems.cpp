#include "baselines/systems.h"

#include "baselines/attention_balanced.h"
#include "baselines/deepspeed.h"
#include "baselines/flexsp.h"
#include "baselines/megatron.h"
#include "baselines/megatron_dcp.h"
#include "baselines/pipeline_system.h"

namespace infinipipe {

namespace {

using Made = std::unique_ptr<System>;

Made pipeline(const SystemRow& row, const SystemContext& context) {
  return make_pipeline_system(*row.planner, context);
}

Made deepspeed(const SystemRow&, const SystemContext& context) { return make_deepspeed(context); }

Made flexsp(const SystemRow&, const SystemContext& context) { return make_flexsp(context); }

Made megatron(const SystemRow&, const SystemContext& context) { return make_megatron(context); }

Made megatron_dcp(const SystemRow&, const SystemContext& context) {
  return make_megatron_dcp(context);
}

Made attention_balanced(const SystemRow&, const SystemContext& context) {
  return make_attention_balanced(context);
}

}  // namespace

const std::vector<SystemRow>& systems() {
  static const std::vector<SystemRow> kSystems = [] {
    std::vector<SystemRow> rows;
    for (const PlannerRow& planner : planners()) {
      rows.push_back({.name = planner.name,
                      .title = planner.title,
                      .line = planner.line,
                      .make = pipeline,
                      .planner = &planner});
    }
    rows.push_back({.name = system_name::kDeepspeed,
                    .title = "DeepSpeed",
                    .line = "Ulysses of one degree, ZeRO-3",
                    .make = deepspeed,
                    .gathers = true});
    rows.push_back({.name = system_name::kFlexsp,
                    .title = "FlexSP",
                    .line = "Ulysses groups of different degrees, ZeRO-3",
                    .make = flexsp,
                    .gathers = true});
    rows.push_back({.name = system_name::kMegatron,
                    .title = "Megatron-LM",
                    .line = "TP + ring CP + PP + ZeRO-1",
                    .make = megatron});
    rows.push_back({.name = system_name::kMegatronDcp,
                    .title = "Megatron-LM, dynamic CP",
                    .line = "TP + PP + a ring CP degree for each micro-batch + ZeRO-1",
                    .make = megatron_dcp});
    rows.push_back({.name = system_name::kAttentionBalanced,
                    .title = "attention balanced",
                    .line = "a bound: TP + PP + CP in equal parts, without its exchange",
                    .make = attention_balanced});
    return rows;
  }();
  return kSystems;
}

const SystemRow& system_row(std::string_view name) {
  return named(systems(), name, "planners", "unknown system");
}

}  // namespace infinipipe
