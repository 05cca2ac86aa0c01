// How the devices of a sequence-parallel group share a model's attention heads, and which degrees
// cannot. docs/parallelism.md ("Heads") gives the rule.
#pragma once

#include <cstdint>
#include <string>

#include "infinipipe/core/model_spec.h"

namespace infinipipe {

// The heads of one device: query heads [query_begin, query_begin + query), and key-value heads
// likewise. Each of its key-value heads serves as many of its query heads.
struct HeadShare {
  std::int64_t query_begin = 0;
  std::int64_t query = 0;
  std::int64_t key_value_begin = 0;
  std::int64_t key_value = 0;

  bool operator==(const HeadShare&) const = default;
};

// Device `rank` of `degree` has the key-value heads from floor(G rank / degree) to floor(G (rank +
// 1) / degree) with all query heads of each. With more devices than key-value heads each of these
// has degree / G devices side by side, which split its query heads likewise. The degree must be one
// that heads_allow().
HeadShare head_share(const HeadCounts& heads, int rank, int degree);

// Whether `degree` (>= 1) devices can share the heads: with at least as many key-value heads as
// devices always; with fewer, where the degree is a multiple of them and no device is left without
// a query head. True where the heads are unknown.
bool heads_allow(const HeadCounts& heads, int degree);

// "64 devices cannot share 32 attention heads"; with fewer key-value heads these are named too.
// Empty where heads_allow().
std::string heads_refusal(const HeadCounts& heads, int degree);

// Throws InputError("parallelism.sequence_parallel", ...) with the degrees that work.
void require_heads(const HeadCounts& heads, int degree);

// How uneven the shares are: query heads of the device that has most, over the mean of the group's
// devices. Attention takes so many times as long as with even shares. 1 where the heads are even,
// unknown, or cannot be shared by the degree.
double head_imbalance(const HeadCounts& heads, int degree);

// "heads uneven: 7 or 6 a device"; empty where head_imbalance() is 1.
std::string uneven_heads(const HeadCounts& heads, int degree);

}  // namespace infinipipe
