// SwiGLU of rows of gate then up, forward and backward. A thread does one pack.
#pragma once

#include "model/common/fused/memory.h"

namespace infinipipe::fused {

// value [T, I] = silu(gate) * up of gate_up [T, 2 I]; I, `width`, is a multiple of kPack<T>. A row
// is dealt out to `parts` blocks, enough for its packs. Blocks: T x parts.
template <class T>
struct Swiglu {
  static constexpr int kThreads = 256;
  struct Shared {};

  const T* gate_up;
  T* value;
  int width;
  int parts;

  template <class Context>
  INFINIPIPE_KERNEL void operator()(Context& context, Shared&) const {
    constexpr int kN = kPack<T>;
    const PartOfRow at = part_of_row<kThreads>(context, parts);
    const int column = at.item * kN;
    if (column >= width) return;
    const T* both = gate_up + at.row * 2 * width + column;
    const Pack<T> gate = load_pack(both), up = load_pack(both + width);
    float result[kN];
    INFINIPIPE_UNROLL
    for (int i = 0; i < kN; ++i) result[i] = gate[i] / (1.0F + expf(-gate[i])) * up[i];
    store(value + at.row * width + column, result);
  }
};

// In place: gate_up becomes its gradient, and hidden_grad [T, I] what Swiglu writes, bit-equal.
template <class T>
struct SwigluBackward {
  static constexpr int kThreads = 256;
  struct Shared {};

  T* gate_up;
  T* hidden_grad;
  int width;
  int parts;

  template <class Context>
  INFINIPIPE_KERNEL void operator()(Context& context, Shared&) const {
    constexpr int kN = kPack<T>;
    const PartOfRow at = part_of_row<kThreads>(context, parts);
    const int column = at.item * kN;
    if (column >= width) return;
    T* both = gate_up + at.row * 2 * width + column;
    T* hidden = hidden_grad + at.row * width + column;
    const Pack<T> gate = load_pack(both), up = load_pack(both + width),
                  incoming = load_pack(hidden);
    float made[kN], gate_grad[kN], up_grad[kN];
    INFINIPIPE_UNROLL
    for (int i = 0; i < kN; ++i) {
      const float denominator = 1.0F + expf(-gate[i]);
      const float silu = gate[i] / denominator, sigmoid = 1.0F / denominator;
      made[i] = silu * up[i];
      gate_grad[i] = incoming[i] * up[i] * (sigmoid + silu * (1.0F - sigmoid));
      up_grad[i] = incoming[i] * silu;
    }
    store(hidden, made);
    store(both, gate_grad);
    store(both + width, up_grad);
  }
};

}  // namespace infinipipe::fused
