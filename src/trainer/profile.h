// Which profile a run plans with: a given one, this machine's from the cache, or a fresh one.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "infinipipe/core/config.h"
#include "infinipipe/cost/profile.h"
#include "profile/profile_machine.h"

namespace infinipipe {

class Ranks;

// How a configuration's model is measured on this machine: all its replicas at work, over the
// processes where there are several. Stages have the given layers, or equally many. Throws
// InputError for stages that the layers cannot fill.
ProfileOptions profile_options(const TrainConfig& config, Ranks* ranks = nullptr);

// machine_bytes_per_stage() for the configuration's ranks, over the processes where
// there are several.
Bytes stage_share(const TrainConfig& config, const Ranks* ranks);

// Whether a measured profile is for what the configuration runs. Throws InputError where it is of
// another dtype or model; other threads, replicas, processes, code or machine are warned of, once.
// Given and estimated ones are the user's word.
void require_profile_of(const TrainConfig& config, const Profile& profile, const std::string& where,
                        const std::function<void(const std::string&)>& warn);

// The profile that cluster.profile names: a file; "estimate" for one from the model's FLOPs; empty
// for this machine's. That one is read from the cache, and measured first, which takes a minute,
// where the cache has none for this machine, model, dtype, stages, threads, longest document and
// version of the code; of several runs that start at once, one measures and the others wait for it.
// A cached file that cannot be read is measured again; a cache that cannot be written is said and
// done without. `seconds`: to spend on measuring, roughly. Throws Stopped once *stop is set while
// measuring, and InputError where a file is for another model (as far as it says) or dtype.
inline constexpr Seconds kProfileSeconds = 60.0;
Profile resolve_profile(const TrainConfig& config,
                        const std::function<void(const std::string&)>& log,
                        Seconds seconds = kProfileSeconds, const std::atomic<bool>* stop = nullptr,
                        Ranks* ranks = nullptr);

// The cache's file for a configuration: $XDG_CACHE_HOME or ~/.cache, infinipipe/profiles/KEY.json.
// Processes have others than threads, by which of them share a host.
std::string cached_profile_path(const TrainConfig& config, const Ranks* ranks = nullptr);

}  // namespace infinipipe
