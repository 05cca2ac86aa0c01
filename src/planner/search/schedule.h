// A schedule of one replica's share: chunks, their order, and their recomputation, from which the
// replica's part of a plan is made.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "planner/schedules/replica_of_steps.h"
#include "planner/schedules/schedules.h"

namespace infinipipe {

// A chunking with its costs, which take most of a search's memory: schedules keep the chunking
// alone.
struct Cutting {
  int slices = 1;
  std::shared_ptr<const Chunking> chunking;
  ChunkTable table;
};

struct Schedule {
  int slices = 1;
  std::shared_ptr<const Chunking> chunking;     // shared by the schedules that run it
  Keep level = Keep::kInput;                    // what recomputed layers keep
  const char* name = schedule_name::kOneFOneB;  // of the table of schedules
  PipelineStarts starts = {0};
  StepLists steps;
  RecomputeMatrix recompute;
  Seconds seconds = 0.0;  // by the planner's own clock
  SolverReport solver{};
  std::string note{};

  Candidate summary() const;
  // Its part of a plan; slices name positions in the share that was searched for.
  Replica replica() const;
};

// "1.5% slower", as a candidate's note; best 0: "0.0% slower".
std::string percent_slower(Seconds seconds, Seconds best);

// Counts the work of a search in simulated steps, so that it stops at the same point on every
// machine.
class Effort final {
 public:
  explicit Effort(double steps) : left_(steps) {}
  bool left() const { return left_ > 0.0; }
  // One simulation of these chunks.
  void spend(const ChunkTable& table) { left_ -= 2.0 * table.stages * table.chunks; }

 private:
  double left_;
};

}  // namespace infinipipe
