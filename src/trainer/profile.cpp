#include "trainer/profile.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/file.h"
#include "core/gpus.h"
#include "cost/named_estimate.h"
#include "dist/ranks.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"
#include "planner/layer_split.h"
#include "trainer/code_version.h"
#include "trainer/setup.h"

namespace infinipipe {
namespace {

std::string cache_folder() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') {
    return std::string(cache) + "/infinipipe/profiles";
  }
  const char* home = std::getenv("HOME");
  return std::string(home != nullptr && *home != '\0' ? home : ".") + "/.cache/infinipipe/profiles";
}

// Of each rank, which of the hosts it runs on, in the order in which ranks name them: links between
// hosts are not those on one.
std::vector<std::size_t> hosts_of(const Ranks& ranks) {
  std::vector<std::string> names;
  std::vector<std::size_t> hosts;
  for (const RankFacts& rank : facts_of(&ranks)) {
    const auto known = std::find(names.begin(), names.end(), rank.host);
    hosts.push_back(static_cast<std::size_t>(known - names.begin()));
    if (known == names.end()) names.push_back(rank.host);
  }
  return hosts;
}

}  // namespace

ProfileOptions profile_options(const TrainConfig& config, Ranks* ranks) {
  ProfileOptions options;
  options.engine = engine_options_of(config);
  options.engine.stages =
      stage_layers(plan_context(config, estimated_profile(config.model, config.training.dtype)));
  options.engine.ranks = ranks;
  // A profile is kept for other runs: all weights train, on the same tokens.
  options.engine.only.clear();
  options.engine.seed = EngineOptions().seed;
  options.code = kCodeVersion;
  return options;
}

Bytes stage_share(const TrainConfig& config, const Ranks* ranks) {
  return machine_bytes_per_stage(ranks_of(config), config.runtime.device, facts_of(ranks));
}

std::string cached_profile_path(const TrainConfig& config, const Ranks* ranks) {
  Json key = Json::object();
  key["machine"] = machine_name(config.runtime.device);
  key["model"] = model_to_json(config.model);
  key["dtype"] = to_string(config.training.dtype);
  key["device"] = to_string(config.runtime.device);
  key["stages"] = config.parallelism.stages;
  key["layers_per_stage"] = config.parallelism.layers_per_stage.value_or(std::vector<int>{});
  key["threads"] = config.runtime.threads_per_stage;
  if (ranks != nullptr) {
    key["hosts"] = hosts_of(*ranks);
    key["direct_copies"] = config.runtime.direct_copies;
  }
  key["pooled"] = config.runtime.pooled_allocator;
  if (config.parallelism.data_parallel > 1) key["replicas"] = config.parallelism.data_parallel;
  if (config.parallelism.sequence_parallel > 1)
    key["shards"] = config.parallelism.sequence_parallel;
  key["longest"] = config.data.max_sequence_length;
  key["code"] = kCodeVersion;
  return cache_folder() + "/" + hash_json(key).substr(0, 16) + ".json";
}

void require_profile_of(const TrainConfig& config, const Profile& profile, const std::string& where,
                        const std::function<void(const std::string&)>& warn) {
  // A run's memory and times are only as true as its profile: figures for another model or type
  // would break its budget.
  agreed_model(profile_model(config.model), profile, where);
  if (config.model.sliding_window == 0 && profile.model.sliding_window > 0) {
    throw InputError("model.sliding_window", "found 0",
                     "expected " + std::to_string(profile.model.sliding_window) +
                         ", which the figures of " + where + " are for",
                     "use a profile of this model");
  }
  const std::string dtype = to_string(config.training.dtype);
  if (profile.dtype != dtype) {
    throw InputError("training.dtype", "found " + dtype,
                     "expected " + profile.dtype + ", which the figures of " + where + " are for",
                     "measure this machine with the same configuration (infinipipe profile), or "
                     "leave cluster.profile out");
  }
  if (profile.source != "measured") return;
  const double layer =
      estimated_profile(config.model, config.training.dtype).memory.state_bytes_per_layer;
  if (std::abs(profile.memory.state_bytes_per_layer - layer) > 1e-6 * layer) {
    throw InputError(
        where, "was measured for layers of " + format_bytes(profile.memory.state_bytes_per_layer),
        "expected those of the model, of " + format_bytes(layer) + " with their states",
        "measure this model with `infinipipe profile`, or use --cluster.profile estimate");
  }
  const Json raw = profile.raw.empty() ? Json::object() : parse_json(profile.raw, where);
  std::string differs;
  const auto other = [&differs](const std::string& what) {
    differs += (differs.empty() ? "" : ", ") + what;
  };
  if (raw.contains("measured_with")) {
    const JsonView with(raw["measured_with"], where, "measured_with");
    const std::int64_t threads = with.integer_or("threads_per_stage", 0);
    if (threads != 0 && threads != config.runtime.threads_per_stage) {
      other("with " + std::to_string(threads) + " thread(s) a stage instead of " +
            std::to_string(config.runtime.threads_per_stage));
    }
    if (const std::int64_t replicas = with.integer_or("replicas", 0);
        replicas != 0 && replicas != config.parallelism.data_parallel) {
      other("with " + std::to_string(replicas) + " replica(s) instead of " +
            std::to_string(config.parallelism.data_parallel));
    }
    if (const std::int64_t shards = with.integer_or("shards", 1);
        shards != config.parallelism.sequence_parallel) {
      other("with " + std::to_string(shards) + " shard(s) a stage instead of " +
            std::to_string(config.parallelism.sequence_parallel));
    }
    const bool processes = is_between_processes(config.runtime.communicator);
    if (with.boolean_or("processes", processes) != processes)
      other(processes ? "between threads instead of processes"
                      : "between processes instead of threads");
    if (const std::string code = with.string_or("code", ""); !code.empty() && code != kCodeVersion)
      other("by another version of this program");
  }
  if (profile.machine != machine_name(config.runtime.device)) {
    other("on another machine (" + profile.machine + ")");
  }
  if (!differs.empty()) {
    warn(where + ": was measured " + differs +
         ": times, and what is planned for them, may be far off; `infinipipe profile` measures");
  }
}

Profile resolve_profile(const TrainConfig& config,
                        const std::function<void(const std::string&)>& log, Seconds seconds,
                        const std::atomic<bool>* stop, Ranks* ranks) {
  if (is_estimate(config.cluster.profile)) {
    return named_estimate(config.model, config.training.dtype, config.cluster.profile);
  }
  if (!config.cluster.profile.empty()) {
    Profile profile = read_profile(config.cluster.profile);
    require_profile_of(config, profile, config.cluster.profile, log);
    profile.sliding_window = config.model.sliding_window;
    return profile;
  }
  const std::string path = cached_profile_path(config, ranks);
  std::error_code unwritable;  // said when there is something to write
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), unwritable);
  // Two measurements at once would disturb each other, and what they say would stay.
  bool waited = false;
  const FileLock lock(path + ".lock", [&] {
    if (!std::exchange(waited, true)) log("profile another run is measuring: waiting for it");
    if (stop != nullptr && stop->load()) throw Stopped("waiting for a profile");
  });
  if (std::error_code unreadable; std::filesystem::exists(path, unreadable)) {
    try {
      Profile profile = read_profile(path);
      // The hosts may be others than when it was measured.
      profile.device_memory_bytes = stage_share(config, ranks);
      log("profile " + path + ", measured before");
      return profile;
    } catch (const Error& error) {
      log(std::string("profile ") + error.what() + "; measuring again");
    }
  }
  ProfileOptions options = profile_options(config, ranks);
  options.seconds = seconds;
  log("profile none of this machine and model yet: measuring for about " +
      format_seconds(options.seconds));
  options.progress = [&log](const std::string& what, double share) {
    log("profile " + what + ", " + std::to_string(static_cast<int>(100.0 * share)) +
        "% of the time");
  };
  options.stop = stop;
  const ProfileResult result = profile_machine(options);
  const std::string measured =
      std::to_string(result.rounds) + " rounds in " + format_seconds(result.seconds);
  try {
    write_file(path, profile_to_json(result.profile).dump(1) + "\n");
    log("profile " + path + ", " + measured);
  } catch (const RunError& error) {
    log("profile " + measured + ", not kept for the next run: " + error.what());
  }
  return result.profile;
}

}  // namespace infinipipe
