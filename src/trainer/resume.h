// Going on from a checkpoint: with which configuration and profile, and what must not differ.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "infinipipe/cost/profile.h"
#include "infinipipe/trainer/trainer.h"
#include "trainer/checkpoint.h"

namespace infinipipe {

// The checkpoint that a run goes on from; nothing where there is none yet. Throws InputError where
// there are some, and none is whole, or where `resume` was not asked for and they are in the way.
// What had to be passed over is warned of.
std::optional<CheckpointInfo> checkpoint_to_resume(const TrainOptions& options);

// The configuration of the run that goes on. Throws InputError for what would make it another run,
// naming each key; other differences are said.
TrainConfig resumed_config(const TrainOptions& options, const CheckpointInfo& checkpoint);

// The step at which the rate has fallen to its end.
int decay_end(const TrainConfig& config);

// What a checkpoint knows of planning; only where it is an object.
JsonView saved_planning(const CheckpointInfo& checkpoint);

// Whether a profile that was measured for one of them holds for the other on the same machine.
bool measured_alike(const TrainConfig& a, const TrainConfig& b);

// The profile that the checkpoint's plans were made with: a resumed run's too, unless it is told
// otherwise or runs elsewhere.
std::optional<Profile> saved_profile(const TrainConfig& config, const CheckpointInfo& checkpoint,
                                     const std::function<void(const std::string&)>& log);

}  // namespace infinipipe
