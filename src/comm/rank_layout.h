// Which rank is which part of a run: one rank is one stage of one replica.
#pragma once

#include <string>

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

  // For people: "stage 1", and where there are several replicas "replica 0, stage 1".
  std::string name(int replica, StageId stage) const {
    return (replicas > 1 ? "replica " + std::to_string(replica) + ", " : std::string()) + "stage " +
           std::to_string(stage.value());
  }
  std::string name(int rank) const { return name(replica(rank), stage(rank)); }

  bool operator==(const RankLayout&) const = default;
};

}  // namespace infinipipe
