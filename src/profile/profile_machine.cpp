#include "profile/profile_machine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "base/statistics.h"
#include "core/attention_pairs.h"
#include "core/layer_costs.h"
#include "dist/ranks.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/validate.h"
#include "profile/design.h"
#include "profile/fit.h"
#include "profile/group_samples.h"
#include "profile/link_fit.h"
#include "profile/samples.h"
#include "runtime/engine.h"

namespace infinipipe {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kLeastRounds = 2 * static_cast<int>(kRemadeLevels);  // two for each level
constexpr int kMostRounds = 9;
// However short the time: what these say is needed for every part of a profile.
constexpr std::size_t kLeastGroups = 6;

Seconds since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class Measurement final {
 public:
  explicit Measurement(const ProfileOptions& options)
      : options_(options),
        engine_(options.engine),
        random_(static_cast<std::uint64_t>(options.engine.seed)) {}

  ProfileResult run() {
    const Clock::time_point start = Clock::now();
    choose_groups(start);
    std::vector<Keep> levels = {Keep::kInput};
    for (std::size_t i = 0; i < kRemadeLevels; ++i) {
      if (kKeepLevels[i].keep != Keep::kInput) levels.push_back(kKeepLevels[i].keep);
    }
    std::vector<std::vector<InstructionSample>> rounds;
    const Clock::time_point measuring = Clock::now();
    while (static_cast<int>(rounds.size()) < kMostRounds) {
      const int done = static_cast<int>(rounds.size());
      const Seconds per_round = done > 0 ? since(measuring) / done : 0.0;
      const bool enough = options_.groups > 0 || since(start) + per_round > options_.seconds;
      if (done >= kLeastRounds && enough) break;
      options_.progress("measuring, round " + std::to_string(done + 1),
                        std::min(0.99, since(start) / std::max(1.0, options_.seconds)));
      // Each round has another level of keeping in its recomputed layers, the input's first.
      rounds.push_back(round(levels[static_cast<std::size_t>(done) % levels.size()]));
    }
    ProfileResult result;
    result.rounds = static_cast<int>(rounds.size());
    const std::vector<InstructionSample> samples = medians(rounds);
    result.profile = make_profile(samples);
    finish(samples, result);
    result.seconds = since(start);
    return result;
  }

 private:
  Plan plan_of(const std::vector<const DesignGroup*>& groups, Keep level = Keep::kInput) const {
    return design_plan(groups, options_.engine.stages, level, options_.engine.replicas,
                       options_.engine.shards);
  }

  Parallelism parallelism() const {
    return {.stages = static_cast<int>(options_.engine.stages.size()),
            .sequence_parallel = options_.engine.shards,
            .data_parallel = options_.engine.replicas};
  }

  StepResult run_plan(const Plan& plan) {
    if (options_.stop != nullptr && options_.stop->load()) throw Stopped("measuring");
    require_valid(plan);
    Batch batch;
    for (const Tokens length : plan.sequences) {
      auto& tokens = batch.sequences.emplace_back();
      for (Tokens i = 0; i < length; ++i) {
        tokens.push_back(random_.between(0, options_.engine.model.vocab_size - 1));
      }
    }
    engine_.zero_grad();
    return engine_.run(plan, batch);
  }

  // Runs a few chunks to learn how fast the machine is, then takes as many groups as fit the time
  // in several rounds. Where the longest document alone would fill a round, a shorter one stands
  // for it: cost is linear in (C+s)^2 - C^2, so contexts need not be the longest.
  void choose_groups(Clock::time_point start) {
    options_.progress("warming up", 0.0);
    const double token2 = layer_flops_per_token2(options_.engine.model);
    const double token = layer_flops_per_token(options_.engine.model);
    const auto work = [&](const std::vector<Tokens>& lengths) {
      double sum = 0.0;
      for (const Tokens length : lengths) {
        const auto n = static_cast<double>(length);
        sum += (1.0 + kAttentionBackward) * token2 *
                   attention_token2(n, options_.engine.model.sliding_window) +
               (1.0 + kMatmulBackward) * token * n;
      }
      // Recomputation adds up to a third.
      return 1.15 * sum * static_cast<double>(options_.engine.model.num_hidden_layers);
    };
    // A GPU that has little to do waits for its next call, and would pass for a slow one.
    const Tokens busy = options_.engine.device == Device::kCpu ? 512 : 8192;
    const std::vector<Tokens> probe_lengths(4, std::min(busy, options_.engine.longest));
    std::vector<DesignGroup> probe_groups(2);
    std::vector<const DesignGroup*> probe;
    for (DesignGroup& group : probe_groups) {
      group.sequences = {probe_lengths[0], probe_lengths[1]};
      for (int i = 0; i < 2; ++i) {
        Chunk chunk;
        chunk.slices = {{SequenceId(i), 0, probe_lengths[0]}};
        chunk.keeping.resize(options_.engine.stages.size());
        group.chunks.push_back(std::move(chunk));
      }
      probe.push_back(&group);
    }
    run_plan(plan_of(probe));
    const Clock::time_point probing = Clock::now();
    run_plan(plan_of(probe));
    if (options_.groups > 0) {
      groups_ = design_groups(options_.engine.longest, options_.engine.stages, random_);
      groups_.resize(std::min(groups_.size(), static_cast<std::size_t>(options_.groups)));
      number_chunks();
      return;
    }
    const double rate = work(probe_lengths) / std::max(1e-6, since(probing));
    const Seconds left = std::max(1.0, options_.seconds - since(start));
    double budget = rate * left / (kLeastRounds + 0.5);
    Tokens longest = options_.engine.longest;
    while (longest > 1024 && work({longest}) > 0.35 * budget) longest /= 2;
    std::vector<DesignGroup> all = design_groups(longest, options_.engine.stages, random_);
    for (DesignGroup& group : all) {
      const double mine = work(group.sequences);
      if (groups_.size() >= kLeastGroups && mine > budget) continue;
      budget -= mine;
      groups_.push_back(std::move(group));
    }
    number_chunks();
  }

  void number_chunks() {
    first_chunk_.push_back(0);
    for (const DesignGroup& group : groups_) {
      first_chunk_.push_back(first_chunk_.back() + static_cast<int>(group.chunks.size()));
    }
  }

  // All groups once, in an order of its own, in plans of a few groups.
  std::vector<InstructionSample> round(Keep level) {
    std::vector<std::size_t> order(groups_.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    random_.shuffle(order);
    std::vector<InstructionSample> samples;
    constexpr std::size_t kGroups = 12;
    for (std::size_t begin = 0; begin < order.size(); begin += kGroups) {
      const std::size_t end = std::min(order.size(), begin + kGroups);
      std::vector<const DesignGroup*> groups;
      std::vector<int> number;  // of each chunk of the plan, in the design
      for (std::size_t i = begin; i < end; ++i) {
        groups.push_back(&groups_[order[i]]);
        for (int k = first_chunk_[order[i]]; k < first_chunk_[order[i] + 1]; ++k) {
          number.push_back(k);
        }
      }
      const Plan plan = plan_of(groups, level);
      const StepResult result = run_plan(plan);
      const Clock::time_point update = Clock::now();
      engine_.optimizer_step(0);
      engine_.zero_grad();
      updates_.push_back(since(update));
      note(result);
      for (InstructionSample sample :
           samples_of(plan, result.trace, 0, options_.engine.model.sliding_window)) {
        sample.chunk = number[static_cast<std::size_t>(sample.chunk)];
        samples.push_back(sample);
      }
    }
    return samples;
  }

  // Latencies of messages and the bytes of model states.
  void note(const StepResult& result) {
    // Nothing is workspace after a stage's last instruction but what stays for good.
    std::vector<Bytes> left(options_.engine.stages.size(), 0.0);
    for (const MemorySample& sample : result.trace.memory) {
      const auto of = [&](MemoryPurpose purpose) {
        return sample.bytes[static_cast<std::size_t>(purpose)];
      };
      const std::size_t p = sample.stage.index();
      states_.resize(options_.engine.stages.size(), 0.0);
      states_[p] =
          std::max(states_[p], of(MemoryPurpose::kWeights) + of(MemoryPurpose::kGradients) +
                                   of(MemoryPurpose::kOptimizer));
      left[p] = of(MemoryPurpose::kWorkspace);
    }
    workspace_ = std::max(workspace_, *std::max_element(left.begin(), left.end()));
    const auto stages = options_.engine.stages.size();
    const ReplicaId replica(0);
    // An instruction that waited began when its message came: the time since its producer's end is
    // what handing over takes.
    std::vector<std::vector<const TraceEvent*>> by_stage(stages);
    for (const TraceEvent& event : result.trace.events) {
      if (event.replica == replica) by_stage[event.stage.index()].push_back(&event);
    }
    const auto note_latencies = [&](std::size_t from, std::size_t to, auto hands_over) {
      std::vector<Bytes> bytes;  // of the messages, in the order of sending
      for (const TransferEvent& transfer : result.trace.transfers)
        if (transfer.replica == replica && transfer.from.index() == from &&
            transfer.to.index() == to)
          bytes.push_back(transfer.bytes);
      std::vector<Seconds> sent;
      for (const TraceEvent* event : by_stage[from]) {
        if (hands_over(event->instruction.op)) sent.push_back(event->end);
      }
      std::size_t next = 0;
      Seconds free = 0.0;
      for (const TraceEvent* event : by_stage[to]) {
        if (hands_over(event->instruction.op)) {
          if (sent[next] > free)
            latencies_.push_back({bytes[next], std::max(0.0, event->begin - sent[next])});
          ++next;
        }
        free = event->end;
      }
    };
    for (std::size_t p = 1; p < stages; ++p) {
      note_latencies(p - 1, p, [](Op op) { return op == Op::kForward; });
      note_latencies(p, p - 1, starts_backward);
    }
  }

  Profile make_profile(const std::vector<InstructionSample>& samples) {
    Profile profile = estimated_profile(options_.engine.model, options_.engine.dtype);
    profile.source = "measured";
    profile.machine = machine_name(options_.engine.device);
    const LinkSpeed link = fit_link(latencies_, options_.engine.ranks != nullptr);
    profile.links.p2p_seconds = link.seconds;
    profile.links.p2p_bytes_per_second = link.bytes_per_second;
    profile.device_memory_bytes = machine_bytes_per_stage(
        options_.engine.layout().size(), options_.engine.device, facts_of(options_.engine.ranks));
    const int degree = options_.engine.shards;
    profile.links.all_to_all.clear();
    if (degree > 1)
      profile.links.all_to_all[degree] =
          exchange_rate(samples, options_.engine.stages, profile, degree);
    for (const int part : options_.engine.layout().degrees()) {
      if (part == 1 || part == degree) continue;
      if (const double rate = sub_group_rate(part); rate > 0.0)
        profile.links.all_to_all[part] = rate;
    }
    profile.step_seconds = quantile(updates_, 0.5);
    profile.memory.workspace_bytes = workspace_;
    profile.memory.state_constant_bytes = 0.0;
    const CostModel states(profile, parallelism(), options_.engine.stages);
    for (std::size_t p = 0; p < states_.size(); ++p) {
      profile.memory.state_constant_bytes = std::max(profile.memory.state_constant_bytes,
                                                     states_[p] - states.state_bytes(StageId(p)));
    }
    profile.memory.layerwise =
        LayerwiseMemory{.pending_bytes_per_token = bytes_of(layer_pending(options_.engine.model))};
    const std::vector<InstructionSample> own =
        of_one_device(samples, options_.engine.stages, profile, degree);
    fit_times(own, options_.engine.stages, down_projection_share(options_.engine.model), profile);
    // A slice is a call of attention on each device of a group, which the profile divides.
    for (DirectionCost* cost : directions(profile)) cost->seconds_per_slice *= degree;
    for (std::size_t i = 0; i < kRemadeLevels; ++i) {
      if (!profile.remake[i]) continue;
      profile.remake[i]->kept_bytes_per_token =
          bytes_of(layer_beside_input(options_.engine.model, kKeepLevels[i].keep));
    }
    const EngineOptions& engine = options_.engine;
    const bool device = engine.path ? engine.path->device : engine.device != Device::kCpu;
    Profile group =
        profile_of_group(profile, static_cast<double>(engine.model.num_hidden_layers), degree);
    fit_temporaries(own, engine.stages, device, group);
    profile.memory.layerwise = group.memory.layerwise;
    return profile;
  }

  // Bytes a second of a device's part of exchanges within sub-groups of `degree` shards, as chunks
  // of whole sequences may run: the design's such chunks, dealt evenly, whose layers keep all. 0
  // where there is none of several sequences.
  double sub_group_rate(int degree) {
    const auto sub_groups = static_cast<std::size_t>(options_.engine.shards / degree);
    std::vector<const DesignGroup*> groups;
    for (const DesignGroup& group : groups_) {
      const bool whole = std::all_of(group.chunks.begin(), group.chunks.end(), [&](const Chunk& c) {
        return c.kind == ChunkKind::kBatched && c.slices.size() >= sub_groups;
      });
      if (whole) groups.push_back(&group);
    }
    if (groups.empty()) return 0.0;
    Plan plan = plan_of(groups);
    for (Replica& replica : plan.replicas) {
      for (Chunk& chunk : replica.pipelines.at(0).chunks) {
        std::fill(chunk.keeping.begin(), chunk.keeping.end(), Keeping{});
        chunk.degree = degree;
        for (std::size_t i = 0; i < sub_groups; ++i) {
          const std::size_t count = chunk.slices.size();
          chunk.groups.push_back(
              static_cast<int>(count * (i + 1) / sub_groups - count * i / sub_groups));
        }
      }
    }
    constexpr int kRounds = 3;
    std::vector<double> rates;
    for (int i = 0; i < kRounds; ++i) {
      const StepResult result = run_plan(plan);
      Seconds seconds = 0.0;  // of each stage's first shard
      for (const TraceEvent& event : result.trace.events) seconds += event.exchange;
      const double ranks = options_.engine.shards * options_.engine.replicas;
      Bytes bytes = 0.0;  // of one shard
      for (const Bytes of_stage : result.exchanged_bytes) bytes += of_stage / ranks;
      if (seconds > 0.0) rates.push_back(bytes * options_.engine.replicas / seconds);
    }
    return rates.empty() ? 0.0 : median(rates);
  }

  static std::vector<DirectionCost*> directions(Profile& profile) {
    std::vector<DirectionCost*> all = {&profile.forward, &profile.backward};
    for (auto& remake : profile.remake)
      if (remake) all.push_back(&remake->cost);
    return all;
  }

  double bytes_of(const TokenNumbers& numbers) const {
    const DtypeBytes& bytes = row_of(options_.engine.dtype).bytes;
    return numbers.bytes(bytes.element, bytes.accumulator);
  }

  void finish(const std::vector<InstructionSample>& samples, ProfileResult& result) {
    const CostModel cost(result.profile, parallelism(), options_.engine.stages);
    result.residuals = residuals_of(samples, cost);
    std::vector<double> errors;
    for (const Residual& residual : result.residuals) {
      errors.push_back(std::abs(residual.predicted / residual.measured - 1.0));
    }
    for (const InstructionSample& sample : samples) {
      if (sample.shape.tokens < 256 || sample.op == Op::kWeightGrad) continue;
      const Bytes error = temporary_error(sample, predicted_temporary(sample, cost));
      result.memory_error_max = std::max(result.memory_error_max, error / sample.temporary);
    }
    Json fit = Json::object();
    fit["time_error_median"] = quantile(errors, 0.5);
    fit["time_error_p95"] = quantile(errors, 0.95);
    fit["memory_error_max"] = result.memory_error_max;
    fit["samples"] = result.residuals.size();
    fit["rounds"] = result.rounds;
    Json raw = profile_to_json(result.profile);
    raw["fit"] = std::move(fit);
    raw["measured_with"] = {{"threads_per_stage", options_.engine.threads_per_stage},
                            {"replicas", options_.engine.replicas},
                            {"shards", options_.engine.shards},
                            {"processes", options_.engine.ranks != nullptr},
                            {"code", options_.code}};
    result.profile = profile_from_json(raw, "profile");
  }

  const ProfileOptions& options_;
  Engine engine_;
  Random random_;
  std::vector<DesignGroup> groups_;
  std::vector<int> first_chunk_;
  std::vector<Seconds> updates_;
  std::vector<MessageLatency> latencies_;
  std::vector<Bytes> states_;
  Bytes workspace_ = 0.0;  // that libraries keep for themselves on a GPU; 0 on the processor
};

}  // namespace

ProfileResult profile_machine(const ProfileOptions& options) {
  if (!(options.seconds > 0.0)) {
    throw InputError("profile: seconds", "found " + std::to_string(options.seconds),
                     "expected more than 0");
  }
  if (options.engine.longest < 1) {
    throw InputError("profile: longest document", "found " + std::to_string(options.engine.longest),
                     "expected at least 1 token");
  }
  return Measurement(options).run();
}

}  // namespace infinipipe
