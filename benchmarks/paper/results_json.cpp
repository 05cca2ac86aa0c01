#include <nlohmann/json.hpp>

#include "paper/experiments.h"

namespace infinipipe::paper {

namespace {

Json layout_json(const Parallelism& p) {
  return {{"stages", p.stages},
          {"sequence_parallel", p.sequence_parallel},
          {"data_parallel", p.data_parallel}};
}

Json setting_json(const Setting& setting) {
  return {{"model", setting.model},     {"corpus", setting.corpus},
          {"cap", setting.cap},         {"batch", setting.batch},
          {"devices", setting.devices}, {"parallelism", layout_json(setting.parallelism)}};
}

Json cell_json(const Cell& cell) {
  if (!cell.ok) {
    return {{"system", cell.system}, {"status", "out_of_memory"}, {"reason", cell.reason}};
  }
  return {{"system", cell.system},
          {"status", "ok"},
          {"seconds", cell.seconds},
          {"tokens_per_second", cell.tokens_per_second},
          {"bubble", cell.bubble},
          {"recompute_share", cell.recompute},
          {"all_to_all_share", cell.all_to_all},
          {"gathers_share", cell.gathers},
          {"compute_share", cell.compute},
          {"over_lower_bound", cell.gap},
          {"peak_bytes", cell.peak_bytes},
          {"settings", cell.settings}};
}

Json settings_json(const std::vector<SettingResult>& results) {
  Json list = Json::array();
  for (const SettingResult& result : results) {
    Json entry = {{"setting", setting_json(result.setting)},
                  {"tokens", result.tokens},
                  {"lower_bound", result.lower_bound},
                  {"systems", Json::array()}};
    for (const Cell& cell : result.cells) entry["systems"].push_back(cell_json(cell));
    if (!result.waited.empty()) {
      entry["gathers_waited"] = {{"lower_bound", result.waited_bound}, {"systems", Json::array()}};
      for (const Cell& cell : result.waited) {
        entry["gathers_waited"]["systems"].push_back(cell_json(cell));
      }
    }
    if (result.choice.found()) {
      entry["layouts"] = Json::array();
      for (const ParallelOption& option : result.choice.options) {
        if (!option.feasible) continue;
        Json layout = layout_json(option.parallelism);
        layout["seconds"] = option.seconds;
        layout["tokens_per_second"] = option.tokens_per_second;
        layout["note"] = option.note;
        entry["layouts"].push_back(layout);
      }
    }
    list.push_back(entry);
  }
  return list;
}

}  // namespace

Json results_json(const Scope& scope, const Results& results) {
  return {{"format", "infinipipe.paper"},
          {"version", 1},
          {"seed", scope.seed},
          {"steps", scope.steps},
          {"throughput", settings_json(results.throughput)},
          {"batches", settings_json(results.batches)},
          {"ablation", settings_json(results.ablation)},
          {"scaling", settings_json(results.scaling)}};
}

Json timings_json(const Results& results) {
  Json json = {{"format", "infinipipe.paper_timings"}, {"version", 1}};
  for (const auto& [name, list] : {std::pair{"throughput", &results.throughput},
                                   {"batches", &results.batches},
                                   {"ablation", &results.ablation},
                                   {"scaling", &results.scaling}}) {
    json[name] = Json::array();
    for (const SettingResult& result : *list) {
      for (const Cell& cell : result.cells) {
        if (!cell.ok) continue;
        json[name].push_back({{"setting", setting_json(result.setting)},
                              {"system", cell.system},
                              {"plan_seconds", cell.plan_seconds}});
      }
    }
  }
  return json;
}

}  // namespace infinipipe::paper
