// Which rank is which part of a run: one rank is one stage of one replica.
#pragma once

#include "infinipipe/base/ids.h"

namespace infinipipe {

// Ranks count from 0: the stages of replica 0 in order, then those of replica 1, ... So
// neighbouring stages are neighbouring ranks, and replicas lie furthest apart.
struct RankLayout {
  int stages = 1;
  int replicas = 1;

  int size() const { return stages * replicas; }
  int rank(int replica, StageId stage) const { return replica * stages + stage.value(); }
  int replica(int rank) const { return rank / stages; }
  StageId stage(int rank) const { return StageId(rank % stages); }

  bool operator==(const RankLayout&) const = default;
};

}  // namespace infinipipe
