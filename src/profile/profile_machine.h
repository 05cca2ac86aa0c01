// Measures this machine: the real stages on designed chunks, all at work at once as in training,
// fitted to a profile.
#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "infinipipe/cost/profile.h"
#include "runtime/engine_options.h"

namespace infinipipe {

struct RankFacts;

struct ProfileOptions {
  // Of the engine that is measured: every rank of it works, as in training, so that what they share
  // (processors, memory, links) is shared. `engine.longest` is the longest document that training
  // will see; at least 1 token.
  EngineOptions engine;
  Seconds seconds = 60.0;  // to spend on measuring, roughly; the least is four rounds
  // So many groups of the design, in the least number of rounds, whatever the time; 0: as many as
  // `seconds` allows. What is measured of memory then depends on no clock.
  int groups = 0;
  std::string code;  // version of what is measured, for the file's `measured_with`
  // One line at a time; what is done and how far it is (0..1).
  std::function<void(const std::string&)> log = [](const std::string&) {};
  std::function<void(const std::string&, double)> progress = [](const std::string&, double) {};
  // Set from a signal handler: measuring ends with Stopped before the next few chunks.
  const std::atomic<bool>* stop = nullptr;
};

// One instruction of the design: its median time and what the profile says of it.
struct Residual {
  std::string what;  // "forward", "backward", "input gradient", "weight gradient", "recompute",
                     // "recompute, no attention"
  std::string kind;  // of chunk: "split", "hybrid", "batched"
  int stage = 0;
  Tokens tokens = 0;
  int slices = 0;
  Tokens context = 0;
  Seconds measured = 0.0;
  Seconds predicted = 0.0;
};

struct ProfileResult {
  Profile profile;
  std::vector<Residual> residuals;
  int rounds = 0;
  Seconds seconds = 0.0;  // spent
  // Largest |predicted / measured - 1| of what an instruction holds for itself, over chunks of at
  // least 256 tokens.
  double memory_error_max = 0.0;
};

// Throws what Engine throws for options that it cannot run. Starts its own engine; nothing else
// should use the machine meanwhile.
ProfileResult profile_machine(const ProfileOptions& options);

// "AMD EPYC 7763, 2 cores, 23.4 GiB"; for CUDA the GPU's name and the processor's.
std::string machine_name(Device device = Device::kCpu);
// Bytes that a stage may take on this machine: its memory (that of its control group, where that is
// less), less three tenths and half a GiB for everything else and what the allocator's blocks take
// beyond their tensors; for CUDA usable_gpu_memory() (core/gpus.h) of the smallest GPU. Shared by
// the stages that share it: all of them, or, where `ranks` are processes, those of each host, of
// which the one that has least counts.
Bytes machine_bytes_per_stage(int stages, Device device = Device::kCpu,
                              std::span<const RankFacts> ranks = {});

}  // namespace infinipipe
