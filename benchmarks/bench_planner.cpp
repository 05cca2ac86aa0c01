// How good and how fast plans are, beside the paper's own method on the same batches.
//
//   bench_planner [--profiles FOLDER] [--seeds N] [--svg FILE] [growth] [steps] [tight] [pressure]
//                 [degree]
//
// Without a section all run. FOLDER (default profiles) holds llama-{7b,13b,30b}-a800.json, and with
// measured rates of exchanges llama-{7b,13b,30b}-a800-measured-exchange.json. Plans
// are for 4 stages x sequence parallel 8 and batches of 512 unless a table says otherwise. --svg
// writes the memory pressure table as a plot. Times are wall and processor seconds of one thread.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/processor_time.h"
#include "base/statistics.h"
#include "cost/step_overhead.h"
#include "data/lengths.h"
#include "infinipipe/base/error.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/sim/simulator.h"
#include "planner/planners.h"
#include "planner/schedules/schedules.h"

namespace infinipipe {
namespace {

constexpr const char* kOurs = planner_name::kElastic;
constexpr const char* kPapers = planner_name::kPaper;

struct Options {
  std::string profiles = "profiles";
  std::string svg;
  int seeds = 5;
  std::set<std::string> sections;

  bool has(const std::string& section) const {
    return sections.empty() || sections.contains(section);
  }
};

struct Machine {
  const char* name;
  int layers;
};
constexpr Machine kMachines[] = {{"7b", 32}, {"13b", 40}, {"30b", 60}};

PlanContext context_for(const Options& options, const Machine& machine, const char* rates = "") {
  PlanContext context;
  context.profile =
      read_profile(options.profiles + "/llama-" + machine.name + "-a800" + rates + ".json");
  context.layers = machine.layers;
  context.parallelism = {.stages = 4, .sequence_parallel = 8};
  return context;
}

struct Run {
  std::optional<Plan> plan;  // empty: out of memory
  double wall = 0.0;
  double processor = 0.0;

  Seconds seconds() const {
    return plan ? plan->predicted->seconds : std::numeric_limits<double>::infinity();
  }
};

Run plan_with(PlanContext context, const char* name, const std::vector<Tokens>& lengths) {
  context.config.name = name;
  const Bytes limit = context.limit();
  const auto planner = make_planner(context, std::make_shared<SimulatorEvaluator>(limit));
  PlanRequest request;
  request.sequences = lengths;
  Run run;
  const auto began = std::chrono::steady_clock::now();
  const double processor = process_seconds();
  try {
    run.plan = planner->plan(request);
  } catch (const RunError&) {
  }
  run.processor = process_seconds() - processor;
  run.wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return run;
}

struct Shape {
  int pipelines = 0;
  int chunks = 0;
  double busiest = 0.0;     // seconds of the busiest stage, nothing recomputed
  double recomputed = 0.0;  // of all the stages' busy time
};

Shape shape_of(const Plan& plan) {
  Shape shape;
  for (const Replica& replica : plan.replicas) {
    shape.pipelines += static_cast<int>(replica.pipelines.size());
    for (const Pipeline& pipeline : replica.pipelines) {
      shape.chunks += static_cast<int>(pipeline.chunks.size());
    }
  }
  double busy = 0.0;
  for (const StagePrediction& stage : plan.predicted->stages) {
    shape.busiest = std::max(shape.busiest, stage.compute);
    shape.recomputed += stage.recompute;
    busy += stage.compute + stage.recompute;
  }
  shape.recomputed /= busy;
  return shape;
}

double gap(const Plan& plan) { return plan.predicted->seconds / plan.predicted->lower_bound - 1.0; }

// The main table, and what is to be reached.
void bench_steps(const Options& options) {
  std::printf(
      "\nsteps: 4 stages x sequence parallel 8, batches of 512. work = step / busiest stage's time "
      "without\nrecomputation; bound = step / lower bound; free = step / step with unlimited "
      "memory "
      "(1.00: memory is\nloose, else it is the gap's cause); paper = step of the paper's method / "
      "step\n\n"
      "%-4s %-11s %4s %4s %8s %6s %6s %6s %6s %6s %-8s %3s %5s %6s %6s %7s %7s\n",
      "", "lengths", "cap", "seed", "step s", "bubble", "work", "bound", "free", "paper",
      "schedule", "K", "pipes", "chunks", "recomp", "wall s", "cpu s");
  std::vector<double> walls;
  std::vector<double> processors;
  std::vector<double> paper;
  std::vector<double> loose_work;
  std::vector<double> loose_bound;
  std::vector<double> tight_bound;
  for (const Machine& machine : kMachines) {
    const PlanContext context = context_for(options, machine);
    PlanContext unlimited = context;
    unlimited.bytes_per_stage = 1e18;
    for (const LengthModel& model : length_models()) {
      for (const Tokens cap : {Tokens{48} << 10, Tokens{96} << 10, Tokens{192} << 10}) {
        for (int seed = 1; seed <= options.seeds; ++seed) {
          const auto lengths = synthetic_lengths(model, 512, cap, seed);
          const Run ours = plan_with(context, kOurs, lengths);
          const Run theirs = plan_with(context, kPapers, lengths);
          const Run free = plan_with(unlimited, kOurs, lengths);
          std::printf("%-4s %-11s %3dK %4d ", machine.name, std::string(model.name).c_str(),
                      static_cast<int>(cap >> 10), seed);
          if (!ours.plan) {
            std::printf("out of memory\n");
            continue;
          }
          const Plan& plan = *ours.plan;
          const Shape shape = shape_of(plan);
          const double work = ours.seconds() / shape.busiest;
          const double memory = ours.seconds() / free.seconds();
          walls.push_back(ours.wall);
          processors.push_back(ours.processor);
          paper.push_back(theirs.seconds() / ours.seconds());
          const bool loose = memory < 1.005;
          (loose ? loose_bound : tight_bound).push_back(1.0 + gap(plan));
          if (loose) loose_work.push_back(work);
          std::printf(
              "%8.3f %5.1f%% %6.3f %6.3f %6.3f %6.3f %-8s %3d %5d %6d %5.1f%% %7.3f %7.3f\n",
              ours.seconds(), 100.0 * plan.predicted->bubble, work, 1.0 + gap(plan), memory,
              paper.back(), plan.planner.schedule.c_str(), plan.planner.slices, shape.pipelines,
              shape.chunks, 100.0 * shape.recomputed, ours.wall, ours.processor);
          std::fflush(stdout);
        }
      }
    }
  }
  const auto summary = [](const char* what, const std::vector<double>& values, const char* target) {
    if (values.empty()) return;
    std::printf("  %-46s %4zu batches: median %6.3f, least %6.3f, most %6.3f   %s\n", what,
                values.size(), median(values), quantile(values, 0.0), quantile(values, 1.0),
                target);
  };
  std::printf("\n");
  summary("plan, wall seconds", walls, "(target: median 0.3, most 1)");
  summary("plan, processor seconds", processors, "(target: median 0.3, most 1)");
  summary("memory loose: step / busiest stage's work", loose_work, "(target: 1.03)");
  summary("memory loose: step / lower bound", loose_bound, "(target: 1.08)");
  summary("memory binds: step / lower bound", tight_bound, "(reported)");
  summary("paper's own method / ours", paper, "(target: at least 1)");
}

// Where memory is scarce: both kinds of schedule, alone and as the search combines them.
void bench_tight(const Options& options) {
  std::printf(
      "\ntight memory: 13b, github, cap 96K; seconds of a step: the best schedule of each kind "
      "that "
      "the search\nkept, and the paper's own method alone\n\n%8s %4s %9s %9s %9s %9s %-10s %6s "
      "%6s\n",
      "budget", "seed", kOurs, schedule_name::kList, schedule_name::kSolvedOneFOneB, kPapers,
      "schedule", "bound", "cpu s");
  PlanContext context = context_for(options, kMachines[1]);
  for (const double budget : {32e9, 40e9, 48e9}) {
    context.bytes_per_stage = budget;
    for (int seed = 1; seed <= options.seeds; ++seed) {
      const auto lengths = synthetic_lengths(length_model("github"), 512, Tokens{96} << 10, seed);
      const Run ours = plan_with(context, kOurs, lengths);
      const Run theirs = plan_with(context, kPapers, lengths);
      if (!ours.plan) {
        std::printf("%5.0f GB %4d out of memory\n", budget / 1e9, seed);
        continue;
      }
      const auto best = [&](std::string_view schedule) {
        for (const Candidate& candidate : ours.plan->planner.candidates) {
          if (candidate.schedule == schedule) return candidate.seconds;
        }
        return std::numeric_limits<double>::infinity();
      };
      std::printf("%5.0f GB %4d %9.3f %9.3f %9.3f %9.3f %-10s %6.3f %6.3f\n", budget / 1e9, seed,
                  ours.seconds(), best(schedule_name::kList), best(schedule_name::kSolvedOneFOneB),
                  theirs.seconds(), ours.plan->planner.schedule.c_str(), 1.0 + gap(*ours.plan),
                  ours.processor);
      std::fflush(stdout);
    }
  }
}

// One row in a process of its own, whose peak memory is the plan's.
void growth_row(const PlanContext& context, int sequences) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    const auto lengths = synthetic_lengths(length_model("github"), sequences, Tokens{96} << 10, 1);
    rusage before{};
    getrusage(RUSAGE_SELF, &before);
    const Run run = plan_with(context, kOurs, lengths);
    rusage after{};
    getrusage(RUSAGE_SELF, &after);
    std::printf("%9d %6d ", sequences, context.parallelism.stages);
    if (run.plan) {
      const Shape shape = shape_of(*run.plan);
      std::printf("%7d %8.3f %8.3f %10.1f %8.1f %6.3f\n", shape.chunks, run.wall, run.processor,
                  1e6 * run.processor / sequences,
                  static_cast<double>(after.ru_maxrss - before.ru_maxrss) / 1024.0,
                  1.0 + gap(*run.plan));
    } else {
      std::printf("out of memory\n");
    }
    std::fflush(stdout);
    _exit(0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
    std::printf("%9d %6d failed\n", sequences, context.parallelism.stages);
  }
}

void bench_growth(const Options& options) {
  std::printf(
      "\ngrowth: 13b over 64 layers, github, cap 96K, sequence parallel 8\n\n"
      "%9s %6s %7s %8s %8s %10s %8s %6s\n",
      "sequences", "stages", "chunks", "wall s", "cpu s", "us/seq", "peak MiB", "bound");
  PlanContext context = context_for(options, kMachines[1]);
  context.layers = 64;
  for (const int stages : {4, 16, 64}) {
    context.parallelism.stages = stages;
    for (int sequences = 128; sequences <= 16384; sequences *= stages == 4 ? 2 : 8) {
      growth_row(context, sequences);
    }
    if (stages != 4) growth_row(context, 16384);
  }
}

struct Point {
  double budget = 0.0;
  Seconds ours = 0.0;
  Seconds paper = 0.0;
  Seconds static_best = 0.0;
};

// The plot of the memory pressure table: budgets to the right, seconds upwards.
std::string plot(const std::vector<Point>& points) {
  constexpr double kWidth = 640.0;
  constexpr double kHeight = 360.0;
  constexpr double kLeft = 60.0;
  constexpr double kBottom = 40.0;
  double most = 0.0;
  double least = std::numeric_limits<double>::infinity();
  for (const Point& p : points) {
    for (const double s : {p.ours, p.paper, p.static_best}) {
      if (s < 1e9) most = std::max(most, s);
      least = std::min(least, s);
    }
  }
  const double low = 0.95 * least;
  const double first = points.front().budget;
  const double range = points.back().budget - first;
  const auto x = [&](double b) { return kLeft + (b - first) / range * (kWidth - kLeft - 20.0); };
  const auto y = [&](double s) {
    return kHeight - kBottom - (s - low) / (most - low) * (kHeight - kBottom - 20.0);
  };
  char text[256];
  std::string svg =
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 360\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"640\" height=\"360\" fill=\"#fff\"/>\n";
  for (int i = 0; i <= 4; ++i) {
    const double s = low + (most - low) * i / 4.0;
    std::snprintf(text, sizeof(text),
                  "<path d=\"M%.0f %.1fH620\" stroke=\"#ddd\"/>"
                  "<text x=\"54\" y=\"%.1f\" text-anchor=\"end\">%.0f s</text>\n",
                  kLeft, y(s), y(s) + 4.0, s);
    svg += text;
  }
  for (const Point& p : points) {
    std::snprintf(text, sizeof(text),
                  "<text x=\"%.1f\" y=\"338\" text-anchor=\"middle\">%.0f</text>\n", x(p.budget),
                  p.budget / 1e9);
    svg += text;
  }
  svg += "<text x=\"340\" y=\"354\" text-anchor=\"middle\">memory per device, GB</text>\n";
  const auto line = [&](Seconds Point::*member, const char* color, const char* name, int row) {
    std::string path;
    for (const Point& p : points) {
      if (!(p.*member < 1e9)) continue;
      std::snprintf(text, sizeof(text), "%s%.1f %.1f", path.empty() ? "M" : "L", x(p.budget),
                    y(p.*member));
      path += text;
      std::snprintf(text, sizeof(text), "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n",
                    x(p.budget), y(p.*member), color);
      svg += text;
    }
    svg += "<path d=\"" + path + "\" fill=\"none\" stroke=\"" + color + "\" stroke-width=\"2\"/>\n";
    std::snprintf(text, sizeof(text),
                  "<text x=\"610\" y=\"%d\" text-anchor=\"end\" fill=\"%s\">%s</text>\n",
                  36 + 18 * row, color, name);
    svg += text;
  };
  line(&Point::static_best, "#c44", "best static checkpointing", 0);
  line(&Point::paper, "#88a", kPapers, 1);
  line(&Point::ours, "#286", kOurs, 2);
  return svg + "</svg>\n";
}

// One batch from the least memory that any plan fits in to where memory costs less than 0.1%.
void bench_pressure(const Options& options) {
  PlanContext context = context_for(options, kMachines[1]);
  const auto lengths = synthetic_lengths(length_model("github"), 512, Tokens{96} << 10, 1);
  context.bytes_per_stage = 1e18;
  const Run free = plan_with(context, kOurs, lengths);
  double high = 0.0;  // peak where memory is no matter
  for (const StagePrediction& stage : free.plan->predicted->stages) {
    high = std::max(high, stage.peak_bytes);
  }
  // Least memory for which `enough` holds of the plan.
  const auto least_budget = [&](double low, const auto& enough) {
    double fits = high;
    while (fits - low > 1e8) {
      context.bytes_per_stage = (low + fits) / 2.0;
      (enough(plan_with(context, kOurs, lengths)) ? fits : low) = context.bytes_per_stage;
    }
    return fits;
  };
  const double fits = least_budget(0.0, [](const Run& run) { return run.plan.has_value(); });
  const double loose =
      least_budget(fits, [&](const Run& run) { return run.seconds() <= 1.001 * free.seconds(); });
  std::printf(
      "\nmemory pressure: 13b, github, cap 96K, seed 1; seconds of a step. static: the better of "
      "%s "
      "and %s,\neach with its own best slices and recomputation setting\n\n"
      "%9s %9s %9s %9s %9s %8s %7s\n",
      planner_name::kPacked, planner_name::kSlices, "budget GB", kOurs, kPapers, "static",
      "static/ours", "recomp", "bound");
  std::vector<Point> points;
  for (int i = 0; i < 10; ++i) {
    context.bytes_per_stage = fits + (loose - fits) * i / 9.0;
    const Run ours = plan_with(context, kOurs, lengths);
    const Seconds paper = plan_with(context, kPapers, lengths).seconds();
    const Seconds fixed = std::min(plan_with(context, planner_name::kPacked, lengths).seconds(),
                                   plan_with(context, planner_name::kSlices, lengths).seconds());
    points.push_back({context.bytes_per_stage, ours.seconds(), paper, fixed});
    if (!ours.plan) continue;
    std::printf("%9.1f %9.3f %9.3f %9.3f %9.3f %7.1f%% %7.3f\n", context.bytes_per_stage / 1e9,
                ours.seconds(), paper, fixed, fixed / ours.seconds(),
                100.0 * shape_of(*ours.plan).recomputed, 1.0 + gap(*ours.plan));
    std::fflush(stdout);
  }
  if (!options.svg.empty()) write_file(options.svg, plot(points));
}

// Chunks that run in sub-groups, and which share of the batch's tokens these have.
struct InSubGroups {
  int chunks = 0;
  double share = 0.0;
  std::string degrees;  // "1 x 12, 2 x 3"
};

InSubGroups in_sub_groups(const Plan& plan) {
  InSubGroups result;
  std::map<int, int> by_degree;
  for (const Replica& replica : plan.replicas) {
    for (const Pipeline& pipeline : replica.pipelines) {
      for (const Chunk& chunk : pipeline.chunks) {
        if (chunk.degree == 0) continue;
        ++result.chunks;
        ++by_degree[chunk.degree];
        result.share += static_cast<double>(chunk.tokens());
      }
    }
  }
  result.share /= static_cast<double>(plan.total_tokens());
  for (const auto& [degree, count] : by_degree) {
    result.degrees += (result.degrees.empty() ? "" : ", ") + std::to_string(degree) + " x " +
                      std::to_string(count);
  }
  return result;
}

// A degree for each chunk against the whole group for all: the same batches, planned twice.
void bench_degree(const Options& options) {
  std::printf(
      "\ndegree: 4 stages x sequence parallel 8, batches of 512, measured rates of exchanges; "
      "mean of %d seeds.\nwhole, auto: seconds of a step with that planner.degree; ratio and least "
      "ratio of the seeds; heads: the\nratio with what uneven heads add to a step; bound = step / "
      "lower bound; tokens in sub-groups; degrees: chunks\nof each degree, seed 1\n\n"
      "%-4s %-11s %4s %8s %8s %6s %6s %6s %6s %6s %7s %7s  %s\n",
      options.seeds, "", "lengths", "cap", "whole", "auto", "ratio", "least", "heads", "bound",
      "tokens", "cpu s", "cpu s", "degrees");
  for (const Machine& machine : kMachines) {
    PlanContext whole = context_for(options, machine, "-measured-exchange");
    PlanContext each = whole;
    each.config.degree = "auto";
    for (const LengthModel& model : length_models()) {
      for (const Tokens cap : {Tokens{48} << 10, Tokens{96} << 10, Tokens{192} << 10}) {
        double least = std::numeric_limits<double>::infinity();
        double seconds[2] = {}, heads[2] = {}, processor[2] = {}, bound = 0.0, share = 0.0;
        std::string degrees;
        for (int seed = 1; seed <= options.seeds; ++seed) {
          const auto lengths = synthetic_lengths(model, 512, cap, seed);
          Seconds ours[2] = {};
          for (const bool sub_groups : {false, true}) {
            const PlanContext& context = sub_groups ? each : whole;
            const Run run = plan_with(context, kOurs, lengths);
            if (!run.plan) throw RunError("bench_planner", "out of memory");
            ours[sub_groups] = run.seconds();
            seconds[sub_groups] += run.seconds();
            heads[sub_groups] +=
                run.seconds() +
                step_overhead(*run.plan, plan_cost(context.profile, *run.plan), 8).heads;
            processor[sub_groups] += run.processor;
            if (!sub_groups) continue;
            const InSubGroups grouped = in_sub_groups(*run.plan);
            bound += 1.0 + gap(*run.plan);
            share += grouped.share;
            if (seed == 1) degrees = grouped.degrees;
          }
          least = std::min(least, ours[0] / ours[1]);
        }
        const double seeds = options.seeds;
        std::printf("%-4s %-11s %3dK %8.3f %8.3f %6.3f %6.3f %6.3f %6.3f %5.1f%% %7.3f %7.3f  %s\n",
                    machine.name, std::string(model.name).c_str(), static_cast<int>(cap >> 10),
                    seconds[0] / seeds, seconds[1] / seeds, seconds[0] / seconds[1], least,
                    heads[0] / heads[1], bound / seeds, 100.0 * share / seeds, processor[0] / seeds,
                    processor[1] / seeds, degrees.c_str());
        std::fflush(stdout);
      }
    }
  }
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "growth" || word == "steps" || word == "tight" || word == "pressure" ||
        word == "degree") {
      options.sections.insert(word);
    } else if (i + 1 < argc && word == "--profiles") {
      options.profiles = argv[++i];
    } else if (i + 1 < argc && word == "--svg") {
      options.svg = argv[++i];
    } else if (i + 1 < argc && word == "--seeds") {
      options.seeds = std::max(1, std::atoi(argv[++i]));
    } else {
      throw InputError("bench_planner", "found '" + word + "'",
                       "expected --profiles FOLDER, --seeds N, --svg FILE, growth, steps, tight, "
                       "pressure or degree");
    }
  }
  return options;
}

}  // namespace
}  // namespace infinipipe

int main(int argc, char** argv) {
  using namespace infinipipe;
  try {
    const Options options = parse(argc, argv);
    // First, while this process is small: a forked row's peak begins there.
    if (options.has("growth")) bench_growth(options);
    if (options.has("steps")) bench_steps(options);
    if (options.has("tight")) bench_tight(options);
    if (options.has("pressure")) bench_pressure(options);
    if (options.has("degree")) bench_degree(options);
  } catch (const Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
  return 0;
}
