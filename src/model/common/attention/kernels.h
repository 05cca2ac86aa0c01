// The inner loops of tiled attention on raw rows, compiled for several instruction sets and chosen
// when the program starts. Plain pointers only: the files that are compiled for one instruction set
// must not leave code in the program that others could pick up.
//
// Scores are never materialised: a strip of a few queries meets a tile of keys, all of it in a
// core's first two cache levels. Products are register blocks fed from packed tiles of keys and
// values; a strip stops at the last key it may see.
// Source: tiling and backward of FlashAttention-2 (Dao 2023); register blocks as in BLIS (Van Zee,
// van de Geijn 2015).
#pragma once

#include <cstdint>

namespace infinipipe::attention_kernels {

// A bfloat16 as it lies in memory.
struct Narrow {
  std::uint16_t bits;
};

// What follows computes in Scalar. Rows that were saved are stored as In: Scalar, or Narrow, which
// is widened tile by tile, so that no copy of them has to be held.

// A run of keys [count, dim] that a slice attends to: an earlier block, all of it visible, or its
// own keys, of which query i sees the first i + 1. Of either a sliding window hides the first
// `hidden` + i keys from query i. Rows are Item::key_stride apart.
template <class Scalar, class In = Scalar>
struct Keys {
  const In* key;
  const In* value;
  Scalar* key_grad;  // added to by the backward; null in the forward
  Scalar* value_grad;
  std::int64_t count;
  bool causal;
  std::int64_t hidden;  // below 0: none of the first queries misses any; kNoWindow: no query does
};

constexpr std::int64_t kNoWindow = -(std::int64_t{1} << 60);

// Queries of one slice that share one key head: `members` heads lie side by side in a row.
template <class Scalar, class In = Scalar>
struct Item {
  const In* query;  // row 0 of the slice, first member; so for all rows below
  std::int64_t query_stride;
  std::int64_t lse_stride;
  std::int64_t begin;  // query rows [begin, end) of the slice
  std::int64_t end;
  std::int64_t members;
  std::int64_t dim;
  const Keys<Scalar, In>* keys;  // the slice's own come last
  std::int64_t key_runs;
  std::int64_t key_stride;
  bool window;  // some run hides keys from some query
};

// At most kForwardRows rows.
template <class Scalar, class In = Scalar>
struct ForwardItem : Item<Scalar, In> {
  In* output;
  Scalar* lse;  // natural; member m at + m
};

// All rows of the slice, begin 0: one item owns its keys' gradients.
template <class Scalar, class In = Scalar>
struct BackwardItem : Item<Scalar, In> {
  const In* output;
  const Scalar* lse;
  const In* output_grad;
  Scalar* delta;       // workspace as large as lse
  Scalar* query_grad;  // overwritten
};

template <class Scalar, class In = Scalar>
struct Kernels {
  // Numbers of scratch memory that an item needs, of any content.
  std::int64_t (*forward_scratch)(std::int64_t members, std::int64_t dim);
  std::int64_t (*backward_scratch)(std::int64_t members, std::int64_t dim);
  void (*forward)(const ForwardItem<Scalar, In>& item, Scalar* scratch);
  void (*backward)(const BackwardItem<Scalar, In>& item, Scalar* scratch);
};

constexpr std::int64_t kForwardRows = 384;

// The best that this processor can run.
template <class Scalar, class In = Scalar>
const Kernels<Scalar, In>& best();

// By name, for tests: "avx512", "avx2", "base"; null if this processor or build lacks it.
template <class Scalar, class In = Scalar>
const Kernels<Scalar, In>* named(const char* name);

// One per instruction set; defined in the file of that name.
#define INFINIPIPE_DECLARE_KERNELS(set)         \
  const Kernels<float>& set##_float();          \
  const Kernels<float, Narrow>& set##_narrow(); \
  const Kernels<double>& set##_double();
INFINIPIPE_DECLARE_KERNELS(base)
INFINIPIPE_DECLARE_KERNELS(avx2)
INFINIPIPE_DECLARE_KERNELS(avx512)
#undef INFINIPIPE_DECLARE_KERNELS

}  // namespace infinipipe::attention_kernels
