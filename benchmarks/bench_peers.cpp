// Our side of the comparison with PyTorch's pipelining (benchmarks/peers): the same weights and
// documents, the elastic planner, the real engine. Writes what it measured as JSON.
//
//   bench_peers --input FILE --layers N --out FILE [--steps 1] [--stages 2] [--planner epp]
//               [--profile FILE] [--plan FILE] [--floor yes|no]
//
// FILE of --input is what benchmarks/peers/export.py writes. First the floor is measured: matmuls
// and attention alone, on all stages' threads at once; the step's matmuls and attention at those
// speeds, shared out evenly. Without --profile these speeds are also what the planner reckons with.
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/rand.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/statistics.h"
#include "core/layer_costs.h"
#include "data/safetensors.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/model_spec.h"
#include "infinipipe/core/plan_json.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/sim/simulator.h"
#include "model/common/attention/attention.h"
#include "planner/planners.h"
#include "runtime/allocator.h"
#include "runtime/engine.h"

namespace infinipipe {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

using Arguments = std::map<std::string, std::string>;

Arguments parse(int argc, char** argv) {
  Arguments all = {{"--input", ""},   {"--layers", "2"}, {"--out", ""},
                   {"--steps", "1"},  {"--stages", "2"}, {"--planner", planner_name::kElastic},
                   {"--profile", ""}, {"--plan", ""},    {"--floor", "yes"}};
  for (int i = 1; i + 1 < argc; i += 2) {
    if (!all.contains(argv[i]))
      throw InputError("bench_peers", std::string("found ") + argv[i], "expected a known argument");
    all[argv[i]] = argv[i + 1];
  }
  if (argc > 1 && (all["--input"].empty() || all["--out"].empty()))
    throw InputError("bench_peers", "found no --input or no --out", "expected both");
  return all;
}

ModelSpec peers_model(int layers) {
  ModelSpec model;
  model.vocab_size = 256;
  model.hidden_size = 512;
  model.intermediate_size = 1408;
  model.num_hidden_layers = layers;
  model.num_attention_heads = 8;
  model.num_key_value_heads = 4;
  return model;
}

Batch read_batch(const SafetensorsFile& file) {
  const std::vector<std::byte> lengths = file.read(file.at("lengths"));
  const std::vector<std::byte> tokens = file.read(file.at("tokens"));
  const auto* token = reinterpret_cast<const std::uint8_t*>(tokens.data());
  Batch batch;
  for (std::size_t i = 0; i < lengths.size() / 8; ++i) {
    std::int64_t length = 0;
    std::memcpy(&length, lengths.data() + 8 * i, 8);
    batch.sequences.emplace_back(token, token + length);
    token += length;
  }
  return batch;
}

void load_weights(const SafetensorsFile& file, Engine& engine) {
  for (auto& state : engine.state()) {
    const auto& tensor = file.at(state.parameter->name);
    at::Tensor source = at::empty(state.parameter->master.sizes(), at::dtype(at::kFloat));
    INFINIPIPE_ASSERT(source.nbytes() == tensor.bytes, "a weight of another size");
    file.read(tensor, {static_cast<std::byte*>(source.mutable_data_ptr()), tensor.bytes});
    state.parameter->master.copy_(source);
  }
  engine.state_changed();
}

// Speeds of the operations alone ------------------------------------------------------------------

struct Speeds {
  double matmul_forward = 0.0;  // seconds per token and layer, in chunks of many tokens
  double matmul_backward = 0.0;
  double chunk_forward = 0.0;  // seconds per chunk and layer: weights read, gradients updated
  double chunk_backward = 0.0;
  // Seconds of one layer's attention over one document, by length.
  std::map<Tokens, std::pair<double, double>> attention;
};

// Median seconds of `call` while every stage's thread runs it at once; the slower thread counts.
double together(int threads, int repeats, const std::function<std::function<void()>()>& make) {
  std::vector<std::vector<double>> seconds(static_cast<std::size_t>(threads));
  std::vector<std::thread> workers;
  for (auto& mine : seconds) {
    workers.emplace_back([&mine, &make, repeats] {
      at::set_num_threads(1);
      const at::NoGradGuard no_grad;
      const auto call = make();
      call();
      for (int i = 0; i < repeats; ++i) {
        const double begin = now();
        call();
        mine.push_back(now() - begin);
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  double sum = 0.0;
  for (const auto& mine : seconds) sum += median(mine);
  return sum / threads;
}

Speeds measure_speeds(const ModelSpec& model, int threads, Tokens longest) {
  Speeds speeds;
  const std::int64_t d = model.hidden_size, q = model.query_width(), kv = model.kv_width();
  const std::int64_t inner = model.intermediate_size;
  const std::vector<std::pair<std::int64_t, std::int64_t>> shapes = {
      {d, q + 2 * kv}, {q, d}, {d, 2 * inner}, {inner, d}};
  // Forward (kind 0); gradients of input and weight (1, 2).
  const auto matmuls = [&](std::int64_t rows, int kind) {
    double sum = 0.0;
    for (const auto& [in, out] : shapes) {
      sum += together(threads, 9, [rows, kind, in = in, out = out] {
        const at::Tensor x = at::rand({rows, in}), y = at::rand({rows, out});
        at::Tensor w = at::rand({out, in});
        at::Tensor result = kind == 0 ? at::empty({rows, out}) : at::empty({rows, in});
        return std::function<void()>([x, w, y, result, kind]() mutable {
          if (kind == 0) at::mm_out(result, x, w.t());
          if (kind == 1) at::mm_out(result, y, w);
          if (kind == 2) w.addmm_(y.t(), x);
        });
      });
    }
    return sum;
  };
  constexpr std::int64_t kFew = 256, kMany = 4096;
  for (int kind = 0; kind < 3; ++kind) {
    const double few = matmuls(kFew, kind), many = matmuls(kMany, kind);
    const double per_token = many / kMany;
    (kind == 0 ? speeds.matmul_forward : speeds.matmul_backward) += per_token;
    (kind == 0 ? speeds.chunk_forward : speeds.chunk_backward) +=
        std::max(0.0, few - kFew * per_token);
  }
  const kernels::Heads heads{model.num_attention_heads, model.num_key_value_heads,
                             model.resolved_head_dim()};
  for (Tokens n = 128;; n = std::min(2 * n, longest)) {
    const auto make = [&](bool backward) {
      const at::Tensor query = at::rand({n, q}), key = at::rand({n, kv}), value = at::rand({n, kv});
      const at::Tensor grad = at::rand({n, q});
      AttentionSlice slice;
      slice.end = n;
      const auto result = attention_forward({}, heads, query, key, value, std::span(&slice, 1));
      return std::function<void()>([=, &heads] {
        AttentionSlice own;
        own.end = n;
        if (backward) {
          attention_backward({}, heads, grad, {query, key, value}, result, std::span(&own, 1));
        } else {
          attention_forward({}, heads, query, key, value, std::span<const AttentionSlice>(&own, 1));
        }
      });
    };
    const int repeats = n <= 4096 ? 9 : 1;
    speeds.attention[n] = {together(threads, repeats, [&] { return make(false); }),
                           together(threads, repeats, [&] { return make(true); })};
    if (n == longest) break;
  }
  return speeds;
}

// Seconds of one layer's attention over a document: per pair between the lengths measured.
double attention_seconds(const Speeds& speeds, Tokens n, bool backward) {
  const auto per_pair = [&](const auto& entry) {
    const double seconds = backward ? entry.second.second : entry.second.first;
    return seconds / (static_cast<double>(entry.first) * static_cast<double>(entry.first));
  };
  auto above = speeds.attention.lower_bound(n);
  double rate = 0.0;
  if (above == speeds.attention.begin()) {
    rate = per_pair(*above);
  } else if (above == speeds.attention.end()) {
    rate = per_pair(*std::prev(above));
  } else {
    const auto below = std::prev(above);
    const double share =
        std::log(static_cast<double>(n) / static_cast<double>(below->first)) /
        std::log(static_cast<double>(above->first) / static_cast<double>(below->first));
    rate = per_pair(*below) + share * (per_pair(*above) - per_pair(*below));
  }
  return rate * static_cast<double>(n) * static_cast<double>(n);
}

struct Floor {
  double matmul = 0.0;  // seconds on one core
  double attention = 0.0;
};

Floor floor_of(const Speeds& speeds, const ModelSpec& model, const std::vector<Tokens>& lengths) {
  Floor floor;
  const auto layers = static_cast<double>(model.num_hidden_layers);
  // The head's products at the layers' speed.
  const double with_head = static_cast<double>(matmul_parameters(model)) /
                           (layers * static_cast<double>(layer_matmul_parameters(model)));
  for (const Tokens n : lengths) {
    floor.matmul += (speeds.matmul_forward + speeds.matmul_backward) * layers * with_head *
                    static_cast<double>(n);
    floor.attention +=
        layers * (attention_seconds(speeds, n, false) + attention_seconds(speeds, n, true));
  }
  return floor;
}

Profile calibrated(const Speeds& speeds, const ModelSpec& model, Tokens longest) {
  Profile profile = estimated_profile(model, Dtype::kFloat32);
  const auto layers = static_cast<double>(model.num_hidden_layers);
  const double pairs = static_cast<double>(longest) * static_cast<double>(longest);
  // Norms, RoPE and SwiGLU: some 12% on top of the matmuls.
  constexpr double kElementwise = 1.12;
  profile.source = "measured";
  profile.machine = "calibrated by bench_peers";
  profile.forward.seconds_per_token = kElementwise * layers * speeds.matmul_forward;
  profile.backward.seconds_per_token = kElementwise * layers * speeds.matmul_backward;
  profile.forward.seconds_per_token2 = layers * attention_seconds(speeds, longest, false) / pairs;
  profile.backward.seconds_per_token2 = layers * attention_seconds(speeds, longest, true) / pairs;
  profile.forward.seconds_per_chunk += layers * speeds.chunk_forward;
  profile.backward.seconds_per_chunk += layers * speeds.chunk_backward;
  const double head = speeds.matmul_forward * static_cast<double>(model.vocab_size) *
                      static_cast<double>(model.hidden_size) /
                      static_cast<double>(model.parameters_per_layer());
  profile.head = {1.5 * head, 3.0 * head};
  return profile;
}

// The run -----------------------------------------------------------------------------------------

Json parts_json(const StepResult& result, std::size_t stage) {
  const PartTimes& parts = result.parts[stage];
  double inside = 0.0;
  for (const TraceEvent& event : result.trace.events)
    if (event.stage.index() == stage) inside += event.end - event.begin;
  const double known = parts.matmul + parts.attention + parts.elementwise + parts.head;
  return {{"matmul", parts.matmul},           {"attention", parts.attention},
          {"elementwise", parts.elementwise}, {"head", parts.head},
          {"other", inside - known},          {"idle", result.trace.seconds - inside}};
}

int run(Arguments arguments) {
  const SafetensorsFile file(arguments["--input"]);
  const int layers = std::stoi(arguments["--layers"]);
  const int stages = std::stoi(arguments["--stages"]);
  const ModelSpec model = peers_model(layers);
  const Batch batch = read_batch(file);
  std::vector<Tokens> lengths;
  for (const auto& sequence : batch.sequences)
    lengths.push_back(static_cast<Tokens>(sequence.size()));
  const Tokens longest = *std::max_element(lengths.begin(), lengths.end());
  Json out;

  memory::install();
  Profile profile = estimated_profile(model, Dtype::kFloat32);
  if (arguments["--floor"] == "yes") {
    const Speeds speeds = measure_speeds(model, stages, longest);
    const Floor floor = floor_of(speeds, model, lengths);
    out["floor"] = {{"matmul", floor.matmul},
                    {"attention", floor.attention},
                    {"seconds", (floor.matmul + floor.attention) / stages}};
    const double flops = 2.0 * static_cast<double>(model.parameters_per_layer());
    out["matmul_flops_per_second"] = 3.0 * flops / (speeds.matmul_forward + speeds.matmul_backward);
    profile = calibrated(speeds, model, longest);
  }
  if (!arguments["--profile"].empty()) profile = read_profile(arguments["--profile"]);

  PlanContext context;
  context.profile = profile;
  context.layers = layers;
  context.parallelism.stages = stages;
  context.config.name = arguments["--planner"];
  const auto planner = make_planner(context, std::make_shared<SimulatorEvaluator>(0.0));
  PlanRequest request;
  request.sequences = lengths;
  const double plan_begin = now();
  const Plan plan = planner->plan(request);
  out["plan_seconds"] = now() - plan_begin;
  out["predicted_seconds"] = plan.predicted->seconds;
  out["slices"] = plan.planner.slices;
  out["tokens"] = plan.total_tokens();
  std::size_t chunks = 0;
  for (const auto& pipeline : plan.replicas[0].pipelines) chunks += pipeline.chunks.size();
  out["chunks"] = chunks;
  if (!arguments["--plan"].empty()) write_plan(arguments["--plan"], plan);

  Engine::Options options;
  options.model = model;
  options.stages = plan.stages;
  options.time_parts = true;
  options.optimizer.lr = 1e-4;
  options.optimizer.warmup_steps = 0;
  options.optimizer.weight_decay = 0.01;
  options.optimizer.clip_grad_norm = 0.0;
  options.total_steps = std::stoi(arguments["--steps"]);
  Engine engine(options);
  load_weights(file, engine);

  // Warm-up: the longest document and every eighth of the others, in slices as the step's, so that
  // the allocator has blocks of all sizes.
  const auto longest_at = std::max_element(lengths.begin(), lengths.end()) - lengths.begin();
  Batch warm;
  PlanRequest warm_request;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    if (i % 8 != 0 && static_cast<std::ptrdiff_t>(i) != longest_at) continue;
    warm.sequences.push_back(batch.sequences[i]);
    warm_request.sequences.push_back(lengths[i]);
  }
  context.config.slices = plan.planner.slices;
  engine.run(make_planner(context, std::make_shared<SimulatorEvaluator>(0.0))->plan(warm_request),
             warm);

  for (int step = 0; step < options.total_steps; ++step) {
    engine.zero_grad();
    const double begin = now();
    const StepResult result = engine.run(plan, batch);
    const double seconds = now() - begin;
    engine.optimizer_step(step);
    Json each = {{"seconds", seconds}, {"loss", result.loss}, {"bubble", result.trace.bubble()}};
    for (std::size_t p = 0; p < static_cast<std::size_t>(stages); ++p)
      each["parts"].push_back(parts_json(result, p));
    each["peak_bytes"] = result.peak_bytes;
    out["steps"].push_back(each);
  }
  write_file(arguments["--out"], out.dump(1));
  return 0;
}

}  // namespace
}  // namespace infinipipe

int main(int argc, char** argv) {
  try {
    const at::NoGradGuard no_grad;
    const auto arguments = infinipipe::parse(argc, argv);
    if (argc == 1) {
      std::printf("bench_peers needs the other side's files: run `make peers`\n");
      return 0;
    }
    return infinipipe::run(arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
}
