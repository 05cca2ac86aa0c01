// Rotation of queries and keys to their positions with the split of the fused projection, and its
// transpose. A thread does a pack of a head's first half and the pack of the second half that is
// rotated with it. Hugging Face's rotate_half convention.
#pragma once

#include "model/common/fused/memory.h"

namespace infinipipe::fused {

// How a token's row [Q + 2 KV] is dealt out: heads of queries, then keys, then values.
struct RopeShape {
  int query_heads;
  int kv_heads;
  int dim;    // of a head; half of it is a multiple of kPack of the projection's dtype
  int parts;  // blocks of a token, enough for all pairs of packs
};

// One thread's part: elements [column, column + kN) and those dim / 2 further.
struct RopeItem {
  bool present;
  bool rotated;         // queries and keys are, values are not
  int part;             // 0: queries, 1: keys, 2: values
  int angle;            // of the first element's cosine in a row of the table
  std::int64_t column;  // in the part's own rows
  std::int64_t fused;   // in the projection's rows
  std::int64_t width;   // of the part's rows
};
template <int kN>
INFINIPIPE_KERNEL RopeItem rope_item(const RopeShape& shape, int item) {
  const auto per_head = static_cast<std::uint32_t>(shape.dim / 2 / kN);
  const int head = static_cast<int>(static_cast<std::uint32_t>(item) / per_head);
  const int angle = static_cast<int>(static_cast<std::uint32_t>(item) % per_head) * kN;
  const int keys = shape.query_heads, values = keys + shape.kv_heads;
  const int part = head < keys ? 0 : head < values ? 1 : 2;
  const int first = part == 0 ? 0 : part == 1 ? keys : values;
  return {head < values + shape.kv_heads,
          part < 2,
          part,
          angle,
          std::int64_t{head - first} * shape.dim + angle,
          std::int64_t{head} * shape.dim + angle,
          std::int64_t{part == 0 ? shape.query_heads : shape.kv_heads} * shape.dim};
}

// Rotates (a, b) by the angles whose cosines and sines stand at `cosines` and dim / 2 further.
template <int kN>
INFINIPIPE_KERNEL void rotate(float (&a)[kN], float (&b)[kN], const float* cosines, int half,
                              float direction) {
  float cosine[kN], sine[kN];
  load(cosines, cosine);
  load(cosines + half, sine);
  INFINIPIPE_UNROLL
  for (int i = 0; i < kN; ++i) {
    const float first = a[i], second = b[i], turn = sine[i] * direction;
    a[i] = first * cosine[i] - second * turn;
    b[i] = second * cosine[i] + first * turn;
  }
}

// qkv [T, Q + 2 KV] into query [T, Q], key and value [T, KV]. `table` [P, dim] holds cosines, then
// sines; positions are below P. Blocks: T x parts.
template <class T>
struct RopeSplit {
  static constexpr int kThreads = 128;
  struct Shared {};

  const T* qkv;
  const std::int64_t* positions;
  const float* table;
  T* query;
  T* key;
  T* value;
  RopeShape shape;

  template <class Context>
  INFINIPIPE_KERNEL void operator()(Context& context, Shared&) const {
    constexpr int kN = kPack<T>;
    const PartOfRow at = part_of_row<kThreads>(context, shape.parts);
    const RopeItem item = rope_item<kN>(shape, at.item);
    if (!item.present) return;
    const int half = shape.dim / 2;
    const std::int64_t row =
        at.row * (shape.query_heads + 2 * shape.kv_heads) * shape.dim + item.fused;
    float a[kN], b[kN];
    load(qkv + row, a);
    load(qkv + row + half, b);
    if (item.rotated) rotate(a, b, table + positions[at.row] * shape.dim + item.angle, half, 1.0F);
    T* to = (item.part == 0   ? query
             : item.part == 1 ? key
                              : value) +
            at.row * item.width + item.column;
    store(to, a);
    store(to + half, b);
  }
};

// The transpose: gradients of query, key and value, in In, into that of the projection. In is T or
// float.
template <class In, class T>
struct RopeMerge {
  static constexpr int kThreads = 128;
  struct Shared {};

  const In* query;
  const In* key;
  const In* value;
  const std::int64_t* positions;
  const float* table;
  T* qkv;
  RopeShape shape;

  template <class Context>
  INFINIPIPE_KERNEL void operator()(Context& context, Shared&) const {
    constexpr int kN = kPack<T>;
    const PartOfRow at = part_of_row<kThreads>(context, shape.parts);
    const RopeItem item = rope_item<kN>(shape, at.item);
    if (!item.present) return;
    const int half = shape.dim / 2;
    const In* from = (item.part == 0   ? query
                      : item.part == 1 ? key
                                       : value) +
                     at.row * item.width + item.column;
    float a[kN], b[kN];
    load(from, a);
    load(from + half, b);
    if (item.rotated) rotate(a, b, table + positions[at.row] * shape.dim + item.angle, half, -1.0F);
    T* to = qkv + at.row * (shape.query_heads + 2 * shape.kv_heads) * shape.dim + item.fused;
    store(to, a);
    store(to + half, b);
  }
};

}  // namespace infinipipe::fused
