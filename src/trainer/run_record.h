// Who a run is and what it has done, over all its processes.
#pragma once

#include <string>

#include "infinipipe/base/json.h"
#include "infinipipe/base/units.h"

namespace infinipipe {

// Kept in checkpoints, so that a resumed run goes on counting.
struct RunRecord {
  std::string id;            // 16 hex digits; the same for all processes that resumed one another
  Tokens tokens = 0;         // trained on
  Seconds seconds = 0.0;     // of the steps that count, each once
  int steps_repeated = 0;    // done, lost with a process that died, and done again
  Seconds seconds_lost = 0;  // that those took in vain

  // What a file may say at most; more is taken for damage.
  static constexpr int kMostSteps = 1 << 30;
  static constexpr Seconds kMostSeconds = 1e12;

  // The share of its training time that a run did not lose; 1 before any.
  double goodput() const;
};

// A run that begins now: its id is of the time, the process and the machine.
RunRecord new_run();

Json to_json(const RunRecord& record);
// A record without an id where the checkpoint is of before there were any (null).
RunRecord run_record(const Json& json, const std::string& where);

}  // namespace infinipipe
