// Which rank is which part of a run: one rank is one shard of one stage of one replica.
#pragma once

#include <string>
#include <vector>

#include "infinipipe/base/ids.h"

namespace infinipipe {

// Ranks count from 0. A stage's shards (the ranks of a sequence-parallel group, which share its
// tokens) are neighbours, so that they are on one host; then come the replica's next stages, and
// replicas lie furthest apart.
struct RankLayout {
  int stages = 1;
  int replicas = 1;
  int shards = 1;

  int size() const { return stages * replicas * shards; }
  int rank(int replica, StageId stage, int shard = 0) const {
    return (replica * stages + stage.value()) * shards + shard;
  }
  int replica(int rank) const { return rank / (stages * shards); }
  StageId stage(int rank) const { return StageId(rank / shards % stages); }
  int shard(int rank) const { return rank % shards; }

  // Ranks of one stage hold the same weights: its copies, counted by replica, then by shard.
  int copies() const { return replicas * shards; }
  int copy(int rank) const { return replica(rank) * shards + shard(rank); }
  std::vector<int> copies_of(StageId stage) const {
    std::vector<int> ranks;
    for (int r = 0; r < replicas; ++r)
      for (int s = 0; s < shards; ++s) ranks.push_back(this->rank(r, stage, s));
    return ranks;
  }
  // In groups of how many neighbours a stage's shards can be told apart: the divisors of their
  // number, ascending, itself the last.
  std::vector<int> degrees() const {
    std::vector<int> all;
    for (int degree = 1; degree <= shards; ++degree)
      if (shards % degree == 0) all.push_back(degree);
    return all;
  }
  // The `degree` neighbouring shards that the rank is one of; `degree` is one of degrees().
  std::vector<int> shards_beside(int rank, int degree) const {
    std::vector<int> ranks;
    const int first = rank - shard(rank) % degree;
    for (int i = 0; i < degree; ++i) ranks.push_back(first + i);
    return ranks;
  }

  // For people: "stage 1"; where there are several replicas or shards, "replica 0, stage 1, shard
  // 2".
  std::string name(int replica, StageId stage, int shard) const {
    return (replicas > 1 ? "replica " + std::to_string(replica) + ", " : std::string()) + "stage " +
           std::to_string(stage.value()) +
           (shards > 1 ? ", shard " + std::to_string(shard) : std::string());
  }
  std::string name(int rank) const { return name(replica(rank), stage(rank), shard(rank)); }

  bool operator==(const RankLayout&) const = default;
};

}  // namespace infinipipe
