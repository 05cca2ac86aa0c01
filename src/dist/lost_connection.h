// What is thrown when another rank can no longer be reached.
#pragma once

#include <string>

#include "infinipipe/base/error.h"

namespace infinipipe {

// Whoever talks to a rank that died sees its connection closed. It says nothing about why, nor that
// this rank was the first to go: the heartbeat is the judge.
class LostConnection final : public RunError {
 public:
  // `who`: "rank 5 (host b)". `reason`: the engine's words, of which the first line counts.
  LostConnection(int rank, const std::string& who, const std::string& reason)
      : RunError("lost the connection to " + who, reason.substr(0, reason.find('\n'))),
        rank_(rank) {}

  int rank() const { return rank_; }

 private:
  int rank_;
};

}  // namespace infinipipe
