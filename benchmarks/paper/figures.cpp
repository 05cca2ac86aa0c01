#include <algorithm>
#include <cmath>
#include <limits>

#include "baselines/systems.h"
#include "paper/page.h"
#include "report/figure.h"

namespace infinipipe::paper {

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

std::string corpus_text(const std::string& corpus) {
  return corpus == "github" ? "GitHub" : corpus == "commoncrawl" ? "CommonCrawl" : corpus;
}

// A bar or line of a figure: a system, by its title unless said otherwise.
struct Shown {
  Shown(const char* of, std::string as = {})  // NOLINT(google-explicit-constructor)
      : system(of), label(as.empty() ? title(of) : std::move(as)) {}
  static std::string title(const char* system) { return system_row(system).title; }

  std::string system;
  std::string label;
};

const std::vector<Shown>& shown_systems() {
  static const std::vector<Shown> kSystems = {
      kOurs,
      kPapers,
      system_name::kFlexsp,
      system_name::kDeepspeed,
      system_name::kMegatron,
      planner_name::kFixedSlices,
      planner_name::kSlices,
      planner_name::kMepipe,
      {planner_name::kPacked, Shown::title(planner_name::kPacked) + ", packed"}};
  return kSystems;
}

std::string throughput_figure(const Scope& scope, const Results& results,
                              const std::string& model) {
  BarFigure figure;
  figure.title = "Throughput, LLaMA " + model;
  figure.subtitle = "32 simulated A800, batch " + std::to_string(scope.batch) +
                    "; pipelines of 4 stages x sequence parallel 8; longest sequence below";
  figure.y_axis = "thousand tokens a second";
  for (const auto& [system, name] : shown_systems()) figure.series.push_back({name, {}});
  for (const SettingResult& result : results.throughput) {
    if (result.setting.model != model) continue;
    figure.groups.push_back(cap_text(result.setting.cap) + "\n" +
                            corpus_text(result.setting.corpus));
    for (std::size_t s = 0; s < shown_systems().size(); ++s) {
      const Cell* cell = result.find(shown_systems()[s].system);
      figure.series[s].values.push_back(cell ? cell->tokens_per_second / 1000.0 : kNone);
    }
  }
  return bar_figure(figure);
}

std::string slices_figure(const Results& results) {
  BarFigure figure;
  figure.title = "Speed-up over pipelines of slices";
  figure.subtitle = "seconds of the baseline / seconds of InfiniPipe (ours), GitHub; dashed: equal";
  figure.y_axis = "times faster";
  figure.reference = 1.0;
  const std::vector<Shown> rivals = {
      {planner_name::kFixedSlices, "over " + Shown::title(planner_name::kFixedSlices)},
      {planner_name::kSlices, "over " + Shown::title(planner_name::kSlices)},
      {planner_name::kMepipe, "over " + Shown::title(planner_name::kMepipe) + ", tuned"}};
  for (const auto& [system, name] : rivals) figure.series.push_back({name, {}});
  for (const SettingResult& result : results.throughput) {
    const Setting& setting = result.setting;
    if (setting.corpus != "github" || (setting.cap != 49152 && setting.cap != 98304)) continue;
    figure.groups.push_back(setting.model + "\n" + cap_text(setting.cap));
    const Cell* ours = result.find(kOurs);
    for (std::size_t s = 0; s < rivals.size(); ++s) {
      const Cell* rival = result.find(rivals[s].system);
      figure.series[s].values.push_back(ours && rival ? rival->seconds / ours->seconds : kNone);
    }
  }
  return bar_figure(figure);
}

std::string gathers_figure(const Results& results) {
  BarFigure figure;
  figure.title = "Speed-up over FlexSP and DeepSpeed under both readings of gathers";
  figure.subtitle =
      "seconds of the baseline / seconds of InfiniPipe (ours), GitHub; both hide their gathers "
      "behind "
      "compute or both wait; dashed: equal";
  figure.y_axis = "times faster";
  figure.reference = 1.0;
  figure.series = {{"over FlexSP, hidden", {}},
                   {"over FlexSP, waited for", {}},
                   {"over DeepSpeed, hidden", {}},
                   {"over DeepSpeed, waited for", {}}};
  for (const SettingResult& result : results.throughput) {
    const Setting& setting = result.setting;
    if (setting.corpus != "github" || setting.cap == 65536 || setting.cap == 131072) continue;
    figure.groups.push_back(setting.model + "\n" + cap_text(setting.cap));
    std::size_t s = 0;
    for (const char* rival : {system_name::kFlexsp, system_name::kDeepspeed}) {
      for (const bool waited : {false, true}) {
        const Cell* ours = waited ? result.find_waited(kOurs) : result.find(kOurs);
        const Cell* other = waited ? result.find_waited(rival) : result.find(rival);
        figure.series[s++].values.push_back(ours && other ? other->seconds / ours->seconds : kNone);
      }
    }
  }
  return bar_figure(figure);
}

std::string ablation_figure(const Results& results, bool papers) {
  BarFigure figure;
  figure.title = papers ? "Ablations of the paper's method" : "Ablations of InfiniPipe (ours)";
  figure.subtitle = "step time with one part changed / step time with all parts; dashed: equal";
  figure.y_axis = "times the step";
  figure.reference = 1.0;
  const std::string prefix = "paper: ";
  std::vector<std::string> names;
  for (const Ablation& ablation : ablations()) {
    if (ablation.name.starts_with(prefix) == papers) names.push_back(ablation.name);
  }
  for (const SettingResult& result : results.ablation) {
    figure.series.push_back({result.setting.model, {}});
  }
  for (std::size_t i = 1; i < names.size(); ++i) {
    std::string label = papers ? names[i].substr(prefix.size()) : names[i];
    if (label == "one recomputation setting") label = "one recompu-\ntation setting";
    if (const std::size_t space = label.find(' ');
        space != std::string::npos && label.find('\n') == std::string::npos) {
      label[space] = '\n';
    }
    figure.groups.push_back(label);
    for (std::size_t s = 0; s < results.ablation.size(); ++s) {
      const Cell* all = results.ablation[s].find(names.front());
      const Cell* cell = results.ablation[s].find(names[i]);
      figure.series[s].values.push_back(all && cell ? cell->seconds / all->seconds : kNone);
    }
  }
  return bar_figure(figure);
}

std::string bubble_figure(const Results& results) {
  BarFigure figure;
  figure.title = "Where a step goes";
  figure.subtitle =
      "share of the stages' time; ours, the paper's method and both with equal slices";
  figure.y_axis = "% of the step";
  figure.stacked = true;
  figure.decimals = 0;
  figure.series = {{"compute", {}}, {"all-to-all", {}}, {"recomputation", {}}, {"bubble", {}}};
  const std::vector<std::pair<std::string, std::string>> shown = {
      {"all", "ours"},
      {"equal slices", "equal slices"},
      {"paper: all", "paper's"},
      {"paper: equal slices", "p., equal sl."}};
  for (const SettingResult& result : results.ablation) {
    for (const auto& [name, label] : shown) {
      const Cell* cell = result.find(name);
      if (!cell) continue;
      figure.groups.push_back(label + "\n" + result.setting.model);
      figure.series[0].values.push_back(100.0 * cell->compute);
      figure.series[1].values.push_back(100.0 * cell->all_to_all);
      figure.series[2].values.push_back(100.0 * cell->recompute);
      figure.series[3].values.push_back(
          100.0 * std::max(0.0, 1.0 - cell->compute - cell->all_to_all - cell->recompute));
    }
  }
  return bar_figure(figure);
}

std::string batch_figure(const Results& results) {
  BarFigure figure;
  const Setting& first = results.batches.front().setting;
  figure.title = "Batch size, LLaMA " + first.model + ", GitHub, " + cap_text(first.cap);
  figure.subtitle = "32 simulated A800";
  figure.y_axis = "thousand tokens a second";
  figure.decimals = 1;
  for (const auto& [system, name] : shown_systems()) figure.series.push_back({name, {}});
  for (const SettingResult& result : results.batches) {
    figure.groups.push_back(std::to_string(result.setting.batch) + " sequences");
    for (std::size_t s = 0; s < shown_systems().size(); ++s) {
      const Cell* cell = result.find(shown_systems()[s].system);
      figure.series[s].values.push_back(cell ? cell->tokens_per_second / 1000.0 : kNone);
    }
  }
  return bar_figure(figure);
}

std::string scaling_figure(const Scope& scope, const Results& results) {
  LineFigure figure;
  const Setting& first = results.scaling.front().setting;
  figure.title = "Scaling, LLaMA " + first.model + ", GitHub, " + cap_text(first.cap);
  figure.subtitle = std::to_string(scope.per_device) +
                    " sequences a device; replicas of 4 stages x sequence parallel 8";
  figure.x_axis = "devices";
  figure.y_axis = "thousand tokens a second";
  figure.log_x = true;
  figure.log_y = true;
  const std::vector<Shown> shown = {
      kOurs,
      {system_name::kFlexsp, Shown::title(system_name::kFlexsp) + " (up to 128)"},
      system_name::kDeepspeed,
      planner_name::kSlices};
  for (const auto& [system, name] : shown) figure.series.push_back({name, {}});
  figure.series.push_back({"ours at 32 devices, scaled", {}});
  double base = kNone;
  for (const SettingResult& result : results.scaling) {
    const Cell* ours = result.find(kOurs);
    if (result.setting.devices == 32 && ours) base = ours->tokens_per_second / 32.0;
  }
  for (const SettingResult& result : results.scaling) {
    figure.x.push_back(result.setting.devices);
    for (std::size_t s = 0; s < shown.size(); ++s) {
      const Cell* cell = result.find(shown[s].system);
      figure.series[s].values.push_back(cell ? cell->tokens_per_second / 1000.0 : kNone);
    }
    figure.series.back().values.push_back(base * result.setting.devices / 1000.0);
  }
  return line_figure(figure);
}

}  // namespace

std::map<std::string, std::string> figures(const Scope& scope, const Results& results) {
  std::map<std::string, std::string> files;
  for (const Model& model : scope.models) {
    std::string name = model.name;
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    files["throughput-" + name + ".svg"] = throughput_figure(scope, results, model.name);
  }
  files["gathers.svg"] = gathers_figure(results);
  files["slices.svg"] = slices_figure(results);
  files["ablations.svg"] = ablation_figure(results, false);
  files["ablations-paper.svg"] = ablation_figure(results, true);
  files["bubbles.svg"] = bubble_figure(results);
  files["batch.svg"] = batch_figure(results);
  files["scaling.svg"] = scaling_figure(scope, results);
  return files;
}

std::string planning_figure(const Results& results) {
  LineFigure figure;
  figure.title = "Planning time beside step time";
  figure.subtitle = "scaling experiment; measured on the machine that ran it";
  figure.x_axis = "devices";
  figure.y_axis = "seconds";
  figure.log_x = true;
  figure.log_y = true;
  figure.series = {{"step", {}}, {"planning, one thread", {}}};
  for (const SettingResult& result : results.scaling) {
    const Cell* cell = result.find(kOurs);
    figure.x.push_back(result.setting.devices);
    figure.series[0].values.push_back(cell ? cell->mean_seconds() : kNone);
    figure.series[1].values.push_back(cell ? cell->plan_seconds : kNone);
  }
  return line_figure(figure);
}

}  // namespace infinipipe::paper
