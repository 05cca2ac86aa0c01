// Strong integer ids, so that a stage is never mistaken for a chunk.
#pragma once

#include <compare>
#include <cstddef>
#include <functional>

namespace infinipipe {

// An index that converts to size_t or int only when asked. Default is 0.
template <class Tag>
class Id {
 public:
  constexpr Id() = default;
  template <class Integer>
  constexpr explicit Id(Integer value) : value_(static_cast<int>(value)) {}

  constexpr int value() const { return value_; }
  constexpr std::size_t index() const { return static_cast<std::size_t>(value_); }
  constexpr auto operator<=>(const Id&) const = default;  // NOLINT(modernize-use-nullptr): misread

 private:
  int value_ = 0;
};

using StageId = Id<struct StageTag>;        // 0 .. stages-1, the embedding is on stage 0
using ReplicaId = Id<struct ReplicaTag>;    // data-parallel replica
using PipelineId = Id<struct PipelineTag>;  // within a replica
using ChunkId = Id<struct ChunkTag>;        // forward position within its pipeline
using SequenceId = Id<struct SequenceTag>;  // position in the batch's list of lengths

}  // namespace infinipipe

template <class Tag>
struct std::hash<infinipipe::Id<Tag>> {
  std::size_t operator()(infinipipe::Id<Tag> id) const { return std::hash<int>{}(id.value()); }
};
