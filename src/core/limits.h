// How much of anything a configuration, a batch or a plan may ask for: far beyond what one
// would train with, and little enough that time and memory stay bounded. docs/formats.md states
// them; whoever refuses a number names its limit.
#pragma once

#include <cstddef>

namespace infinipipe {

inline constexpr int kMostSequences = 1 << 17;  // of one batch
inline constexpr int kMostLayers = 100'000;     // of a model; published ones have a few hundred
inline constexpr int kMostStages = 1024;
inline constexpr int kMostReplicas = 4096;
inline constexpr int kMostSequenceParallel = 4096;
inline constexpr int kMostDevices = 1 << 20;
inline constexpr int kMostThreads = 1024;    // of a stage
inline constexpr int kMostSlices = 1 << 16;  // of the longest sequence
inline constexpr int kMostPlansAhead = 1024;
inline constexpr std::size_t kMostDataSets = 1024;  // that one run draws from
inline constexpr double kMostStageBytes = 1e18;

}  // namespace infinipipe
