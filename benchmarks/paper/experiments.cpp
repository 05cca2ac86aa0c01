#include "paper/experiments.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <nlohmann/json.hpp>
#include <numeric>
#include <thread>

#include "baselines/systems.h"
#include "cost/lower_bound.h"
#include "cost/step_overhead.h"
#include "data/lengths.h"
#include "infinipipe/base/error.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/sim/simulator.h"
#include "planner/parallel_choice.h"

namespace infinipipe::paper {

namespace {

constexpr int kPerNode = 8;

const Model& model_of(const Scope& scope, const std::string& name) {
  for (const Model& model : scope.models) {
    if (model.name == name) return model;
  }
  INFINIPIPE_ASSERT(false, "a setting of an unknown model");
  return scope.models.front();
}

const Cell* find_in(const std::vector<Cell>& cells, const std::string& system) {
  for (const Cell& cell : cells) {
    if (cell.system == system) return cell.ok ? &cell : nullptr;
  }
  return nullptr;
}

std::vector<std::vector<Tokens>> steps_of(const Scope& scope, const Setting& setting) {
  std::vector<std::vector<Tokens>> steps;
  const int sampled = std::max(setting.sampled, setting.batch);
  for (int draw = 0; draw < scope.steps; ++draw) {
    const std::vector<Tokens> lengths =
        synthetic_lengths(length_model(setting.corpus), sampled, setting.cap, scope.seed + draw);
    for (auto at = lengths.begin(); lengths.end() - at >= setting.batch; at += setting.batch) {
      steps.emplace_back(at, at + setting.batch);
    }
  }
  return steps;
}

std::shared_ptr<const Evaluator> judge(const Profile& profile) {
  return std::make_shared<SimulatorEvaluator>(profile.device_memory_bytes);
}

PlanContext plan_context(const Model& model, const Setting& setting) {
  PlanContext context;
  context.profile = model.profile;
  context.layers = model.layers;
  context.parallelism = setting.parallelism;
  context.config.solver_seconds = 1e6;  // nodes limit the solver, so that results repeat
  return context;
}

// Where a plan's time goes, as shares of its slowest replica's step and its overhead.
void add_shares(Cell& cell, const Plan& plan, const Profile& profile, Seconds seconds) {
  Seconds compute = 0.0;
  Seconds recompute = 0.0;
  for (const StagePrediction& stage : plan.predicted->stages) {
    compute += stage.compute;
    recompute += stage.recompute;
    cell.peak_bytes = std::max(cell.peak_bytes, stage.peak_bytes);
  }
  Profile free = profile;
  free.links.all_to_all_bytes_per_token = 0.0;
  const CostModel without(free, plan.parallelism, plan.stages);
  const SimulatorEvaluator evaluator(0.0);
  // The replica that `predicted` is of.
  Seconds plain = 0.0;
  Seconds slowest = -1.0;
  const CostModel with(profile, plan.parallelism, plan.stages);
  for (std::size_t r = 0; r < plan.replicas.size(); ++r) {
    const Seconds own = evaluator.evaluate(plan, with, ReplicaId(r)).seconds;
    if (own <= slowest) continue;
    slowest = own;
    plain = 0.0;
    for (const StagePrediction& stage : evaluator.evaluate(plan, without, ReplicaId(r)).stages) {
      plain += stage.compute;
    }
  }
  const double whole = static_cast<double>(plan.stages.size()) * seconds;
  cell.compute += plain / whole;
  cell.all_to_all += (compute - plain) / whole;
  cell.recompute += recompute / whole;
}

void finish(Cell& cell, Tokens tokens, Seconds bound, int steps) {
  cell.ok = cell.reason.empty();
  if (!cell.ok) {
    Cell none;
    none.system = cell.system;
    none.reason = cell.reason;
    cell = std::move(none);
    return;
  }
  cell.steps = steps;
  cell.tokens_per_second = static_cast<double>(tokens) / cell.seconds;
  cell.gap = bound > 0.0 ? cell.seconds / bound - 1.0 : 0.0;
  for (double* value : {&cell.bubble, &cell.recompute, &cell.all_to_all, &cell.gathers,
                        &cell.compute, &cell.plan_seconds}) {
    *value /= steps;
  }
}

Tokens tokens_of(const std::vector<std::vector<Tokens>>& steps) {
  Tokens tokens = 0;
  for (const auto& step : steps) tokens += std::accumulate(step.begin(), step.end(), Tokens{0});
  return tokens;
}

// A planner's plans, with what its layout costs outside them. `waited`: what the gathers of one
// chunk take on all stages, where they are part of context.profile's constants; 0: they are hidden
// as far as compute is long enough.
Cell run_planner(const std::string& name, const PlanContext& context,
                 const std::vector<std::vector<Tokens>>& steps, Seconds waited = 0.0) {
  Cell cell;
  cell.system = name;
  Seconds bound = 0.0;
  try {
    const auto planner = make_planner(context, judge(context.profile));
    for (const auto& step : steps) {
      const Plan plan = planner->plan({.sequences = step});
      const CostModel cost = plan_cost(context.profile, plan);
      StepOverhead overhead = step_overhead(plan, cost, kPerNode);
      if (waited > 0.0 || !planner_row(name).pays_exposed_gathers) overhead.gathers = 0.0;
      const Seconds seconds = plan.predicted->seconds + overhead.total();
      cell.seconds += seconds;
      cell.bubble += plan.predicted->bubble;
      cell.plan_seconds += plan.planner.seconds;
      bound += plan.predicted->lower_bound;
      add_shares(cell, plan, context.profile, seconds);
      cell.gathers += overhead.gathers / seconds;
      if (waited > 0.0) {
        std::size_t chunks = 0;
        for (const Pipeline& pipeline : plan.replicas.front().pipelines) {
          chunks += pipeline.chunks.size();
        }
        const double share = static_cast<double>(chunks) * waited /
                             (static_cast<double>(plan.stages.size()) * seconds);
        cell.gathers += share;
        cell.compute -= share;
      }
      if (!cell.settings.is_null()) continue;
      std::vector<int> layers;
      for (const LayerRange& range : plan.stages) layers.push_back(range.count());
      cell.settings = {
          {"layers", layers}, {"schedule", plan.planner.schedule}, {"slices", plan.planner.slices}};
      if (!plan.planner.candidates.empty()) {
        const Candidate& best = plan.planner.candidates.front();
        cell.settings["chunk_tokens"] = best.chunk_tokens;
        cell.settings["chunks"] = best.chunks;
        cell.settings["pipelines"] = best.pipelines;
        cell.settings["note"] = best.note;
      }
    }
  } catch (const RunError& error) {
    cell.reason = error.what();
  }
  finish(cell, tokens_of(steps), bound, static_cast<int>(steps.size()));
  return cell;
}

Cell run_analytic(const std::string& name, const PlanContext& context, int devices,
                  const std::vector<std::vector<Tokens>>& steps, bool overlap = true) {
  SystemContext system_context;
  system_context.profile = context.profile;
  system_context.layers = context.layers;
  system_context.devices = devices;
  system_context.devices_per_node = kPerNode;
  system_context.overlap_gathers = overlap;
  const auto system = make_system(name, system_context);
  system->tune(steps);
  Cell cell;
  cell.system = name;
  Seconds bound = 0.0;
  for (const auto& step : steps) {
    const SystemResult result = system->run(step);
    if (result.status != SystemStatus::kOk) {
      cell.reason = result.reason;
      break;
    }
    cell.seconds += result.seconds;
    cell.bubble += result.bubble;
    cell.plan_seconds += result.plan_seconds;
    bound += result.lower_bound;
    for (const Bytes peak : result.peak_bytes) cell.peak_bytes = std::max(cell.peak_bytes, peak);
    if (cell.settings.is_null()) cell.settings = result.settings;
  }
  finish(cell, tokens_of(steps), bound, static_cast<int>(steps.size()));
  return cell;
}

bool analytic(const std::string& name) { return system_row(name).planner == nullptr; }

// The systems again with gathers waited for.
void run_waited(SettingResult& result, const PlanContext& context,
                const std::vector<std::vector<Tokens>>& steps,
                const std::vector<std::string>& systems) {
  PlanContext own = context;
  own.profile = with_waited_gathers(context.profile, context.parallelism, context.layers, kPerNode);
  const Seconds chunk =
      own.profile.forward.seconds_per_chunk - context.profile.forward.seconds_per_chunk +
      own.profile.backward.seconds_per_chunk - context.profile.backward.seconds_per_chunk;
  for (const auto& step : steps) {
    result.waited_bound += lower_bound(own.profile, context.parallelism, context.layers, step,
                                       context.profile.device_memory_bytes)
                               .seconds;
  }
  for (const std::string& name : systems) {
    if (analytic(name)) {
      result.waited.push_back(run_analytic(name, context, result.setting.devices, steps, false));
    } else {
      own.config.name = name;
      result.waited.push_back(run_planner(name, own, steps, chunk));
    }
  }
}

SettingResult run_setting(const Scope& scope, const Setting& setting,
                          const std::vector<std::string>& systems,
                          const std::vector<std::string>& waited, bool choose) {
  const Model& model = model_of(scope, setting.model);
  const auto steps = steps_of(scope, setting);
  const PlanContext context = plan_context(model, setting);
  SettingResult result;
  result.setting = setting;
  result.tokens = tokens_of(steps);
  for (const auto& step : steps) {
    result.lower_bound += lower_bound(context.profile, setting.parallelism, model.layers, step,
                                      context.profile.device_memory_bytes)
                              .seconds;
  }
  for (const std::string& name : systems) {
    if (analytic(name)) {
      result.cells.push_back(run_analytic(name, context, setting.devices, steps));
      continue;
    }
    PlanContext own = context;
    own.config.name = name;
    // As it comes: one slice size for all steps, a part of the longest sequence allowed.
    if (const int slices = planner_row(name).fixed_slices; slices > 0) {
      own.config.chunk_tokens = setting.cap / slices;
    }
    result.cells.push_back(run_planner(name, own, steps));
  }
  if (!waited.empty()) run_waited(result, context, steps, waited);
  if (choose) {
    result.choice =
        choose_parallelism(context, setting.devices, kPerNode, steps, judge(context.profile));
  }
  return result;
}

SettingResult run_ablation(const Scope& scope, const Setting& setting) {
  const Model& model = model_of(scope, setting.model);
  const auto steps = steps_of(scope, setting);
  SettingResult result;
  result.setting = setting;
  result.tokens = tokens_of(steps);
  for (const Ablation& ablation : ablations()) {
    PlanContext context = plan_context(model, setting);
    if (ablation.blockwise_head) context.profile = with_blockwise_head(context.profile);
    context.config.name = ablation.planner;
    context.config.passes = PassSet::without(ablation.without);
    result.cells.push_back(run_planner(ablation.planner, context, steps));
    result.cells.back().system = ablation.name;
  }
  return result;
}

struct Job {
  std::string name;
  std::vector<SettingResult>* place = nullptr;
  std::size_t index = 0;
  std::function<SettingResult()> run;
};

std::string name_of(const Setting& setting) {
  return setting.model + " " + setting.corpus + " " + std::to_string(setting.cap / 1024) + "K, " +
         std::to_string(setting.batch) + " sequences, " + std::to_string(setting.devices) +
         " devices";
}

}  // namespace

std::vector<Ablation> ablations() {
  return {
      {.name = "all", .planner = kOurs, .without = {}},
      {.name = "equal slices", .planner = kOurs, .without = {Pass::kElasticCutting}},
      {.name = "no packing", .planner = kOurs, .without = {Pass::kPacking}},
      {.name = "one recomputation setting",
       .planner = kOurs,
       .without = {Pass::kAdaptiveRecompute}},
      {.name = "no grouping", .planner = kOurs, .without = {Pass::kGrouping}},
      {.name = "no list scheduler",
       .planner = kOurs,
       .without = {Pass::kListSchedules, Pass::kOrdinaryOrders}},
      {.name = "no split backward", .planner = kOurs, .without = {Pass::kSplitBackward}},
      {.name = "equal layers", .planner = kOurs, .without = {Pass::kLayerSplit}},
      {.name = "blockwise head", .planner = kOurs, .without = {}, .blockwise_head = true},
      {.name = "paper: all", .planner = kPapers, .without = {}},
      {.name = "paper: equal slices", .planner = kPapers, .without = {Pass::kElasticCutting}},
      {.name = "paper: no packing", .planner = kPapers, .without = {Pass::kPacking}},
      {.name = "paper: one recomputation setting",
       .planner = kPapers,
       .without = {Pass::kAdaptiveRecompute}},
      {.name = "paper: no grouping", .planner = kPapers, .without = {Pass::kGrouping}},
      {.name = "paper: equal layers", .planner = kPapers, .without = {Pass::kLayerSplit}},
  };
}

Profile with_blockwise_head(Profile profile) {
  profile.head_in_forward = true;
  profile.memory.head_bytes_per_token = profile.memory.input_bytes_per_token;
  return profile;
}

const Cell* SettingResult::find(const std::string& system) const { return find_in(cells, system); }

const Cell* SettingResult::find_waited(const std::string& system) const {
  return find_in(waited, system);
}

Scope full_scope(const std::string& profiles) {
  Scope scope;
  for (const auto& [name, file, layers] : {std::tuple{"7B", "llama-7b-a800", 32},
                                           {"13B", "llama-13b-a800", 40},
                                           {"30B", "llama-30b-a800", 60}}) {
    scope.models.push_back({name, layers, read_profile(profiles + "/" + file + ".json")});
  }
  scope.corpora = {"github", "commoncrawl"};
  scope.caps = {49152, 65536, 98304, 131072, 196608};
  scope.batches = {128, 256, 512};
  scope.scales = {16, 32, 64, 128, 256, 512, 1024};
  return scope;
}

Scope small_scope(const std::string& profiles) {
  Scope scope;
  scope.models.push_back({"7B", 32, read_profile(profiles + "/llama-7b-a800.json")});
  scope.corpora = {"github"};
  scope.caps = {49152, 98304};
  scope.batch = 48;
  scope.steps = 1;
  scope.batches = {24, 48};
  scope.scales = {16, 32, 64};
  scope.per_device = 2;
  return scope;
}

Results run_all(const Scope& scope, const std::function<void(const std::string&)>& progress) {
  std::vector<std::string> systems = {kOurs, kPapers};
  systems.insert(systems.end(), kRivals.begin(), kRivals.end());
  const std::vector<std::string> waited = {kOurs, kPapers, system_name::kFlexsp,
                                           system_name::kDeepspeed};
  const Parallelism usual{.stages = 4, .sequence_parallel = 8, .data_parallel = 1};
  Results results;
  std::vector<Job> jobs;
  const auto add = [&](std::vector<SettingResult>& place, const Setting& setting,
                       std::function<SettingResult()> run) {
    jobs.push_back({name_of(setting), &place, place.size(), std::move(run)});
    place.emplace_back();
  };
  for (const Model& model : scope.models) {
    for (const std::string& corpus : scope.corpora) {
      for (const Tokens cap : scope.caps) {
        const Setting setting{model.name, corpus, cap, scope.batch, 32, usual};
        add(results.throughput, setting, [&scope, &systems, &waited, setting] {
          return run_setting(scope, setting, systems, waited, true);
        });
      }
    }
  }
  const std::string middle = scope.models[scope.models.size() / 2].name;
  for (const int batch : scope.batches) {
    const Setting setting{middle,
                          "github",
                          scope.caps[scope.caps.size() / 2],
                          batch,
                          32,
                          usual,
                          scope.batches.back()};
    add(results.batches, setting,
        [&scope, &systems, setting] { return run_setting(scope, setting, systems, {}, false); });
  }
  for (const Model& model : scope.models) {
    const Setting setting{model.name, "github", scope.caps.back(), scope.batch, 32, usual};
    add(results.ablation, setting, [&scope, setting] { return run_ablation(scope, setting); });
  }
  for (const int devices : scope.scales) {
    const int stages = std::min(4, devices / 8);
    const Setting setting{middle,
                          "github",
                          scope.caps[scope.caps.size() / 2],
                          devices * scope.per_device,
                          devices,
                          {stages, 8, devices / 8 / stages}};
    add(results.scaling, setting, [&scope, setting] {
      std::vector<std::string> own = {kOurs, planner_name::kSlices, system_name::kDeepspeed};
      if (setting.devices <= 128) own.push_back(system_name::kFlexsp);
      return run_setting(scope, setting, own, {}, false);
    });
  }
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    for (std::size_t i = next++; i < jobs.size(); i = next++) {
      try {
        SettingResult result = jobs[i].run();
        const std::lock_guard lock(mutex);
        (*jobs[i].place)[jobs[i].index] = std::move(result);
        progress(jobs[i].name);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int t = 1; t < scope.threads; ++t) threads.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
  return results;
}

}  // namespace infinipipe::paper
