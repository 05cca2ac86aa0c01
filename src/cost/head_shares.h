// How the devices of a sequence-parallel group share a model's attention heads, and which degrees
// cannot. docs/parallelism.md ("Heads") gives the rule.
#pragma once

#include <string>

#include "infinipipe/core/model_spec.h"

namespace infinipipe {

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
