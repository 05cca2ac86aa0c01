// Published experiments: how somebody else's measurement was set up and what was measured, so that
// our models of systems can be compared with it (`compare --calibration NAME`). The measurements of
// this machine are a different thing: trainer/calibrator.h. docs/baselines.md states the sources.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "baselines/system.h"

namespace infinipipe {

struct PublishedExperiment {
  std::string name;
  int batch = 0;  // sequences of a batch, unless said otherwise
  int batches = 0;
  int devices = 0;              // likewise
  int layers = 0;               // of the model; likewise
  Tokens pad = 1;               // lengths are rounded up to a multiple
  Tokens longest = 0;           // longer ones, after padding, are left out
  double allowance_chunks = 0;  // per step, in units of the profile's whole per-chunk cost: gathers
                                // that are not hidden, the optimizer, stragglers
  std::vector<std::string> planners;
  // In the planners' order: the system as the experiment ran it, and what was measured.
  std::vector<std::unique_ptr<System> (*)(const SystemContext&)> make;
  std::vector<Seconds> measured;
  std::string source;
};

// The names of all of them. There is one, named after the system whose authors published it: arXiv
// 2412.01523, GPT 6.7B on 64 x A100-40GB.
std::vector<std::string> published_experiment_names();
// Throws InputError for an unknown name.
const PublishedExperiment& published_experiment(const std::string& name);

// The experiment's batches from a file of lengths, in the order of the file: each length is padded,
// and those that are then too long are left out. Throws InputError where there are not enough
// lengths for `batches` batches of `batch` sequences.
std::vector<std::vector<Tokens>> published_batches(const PublishedExperiment& experiment,
                                                   std::span<const Tokens> lengths, int batch,
                                                   int batches);

// The system as the experiment ran it; a system that was not part of the experiment is made as
// make_system() makes it. In FlexSP's experiment:
// DeepSpeed at one degree over all devices with bins of 0.9 of its capacity, FlexSP at degrees from
// 2 with the fewest micro-batches that fit; nothing recomputed.
std::unique_ptr<System> make_published_system(const PublishedExperiment& experiment,
                                              const std::string& name,
                                              const SystemContext& context);

}  // namespace infinipipe
