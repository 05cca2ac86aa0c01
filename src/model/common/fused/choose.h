// Which kernel does a piece of work, with how many blocks. `run(kernel, blocks)` starts it: on a
// GPU (cuda/launch.cuh), or on host threads in the tests, so that all but the start itself is
// tested.
#pragma once

#include <algorithm>

#include "model/common/fused/adamw.h"
#include "model/common/fused/cross_entropy.h"
#include "model/common/fused/rms_norm.h"
#include "model/common/fused/rope.h"
#include "model/common/fused/sums.h"
#include "model/common/fused/swiglu.h"
#include "model/common/fused/work.h"

namespace infinipipe::fused {

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Calls use(T{}) with the type's element.
template <class Use>
void with_type(Type type, const Use& use) {
  if (type == Type::kFloat32) {
    use(float{});
  } else {
    use(Bfloat16{});
  }
}

template <int kRowThreads, int kHoldPacks>
struct Deal {
  static constexpr int kRow = kRowThreads, kHold = kHoldPacks;
  static constexpr int kAtOnce = Rows<float, kRow, kHold>::kAtOnce;
};
// Calls use with the Deal for rows of that many packs: few threads for heads, a warp for short
// rows, a block for the others. With more packs a thread would need too many registers.
template <class Use>
auto with_deal(std::int64_t packs, const Use& use) {
  if (packs <= 8) return use(Deal<8, 1>{});
  if (packs <= 16) return use(Deal<16, 1>{});
  if (packs <= 32) return use(Deal<32, 1>{});
  if (packs <= 128) return use(Deal<32, 4>{});
  if (packs <= 256) return use(Deal<256, 1>{});
  if (packs <= 512) return use(Deal<256, 2>{});
  if (packs <= 1024) return use(Deal<256, 4>{});
  return use(Deal<512, 4>{});
}

// Blocks that share a norm's backward: two for each of an H100's 132 multiprocessors. The same on
// all devices, so that sums are.
constexpr std::int64_t kMostPartials = 264;

// Rows of scratch for a norm's backward.
inline std::int64_t norm_partials(Type type, std::int64_t rows, std::int64_t columns) {
  const int at_once = with_deal(columns / pack_of(type), []<class D>(D) { return D::kAtOnce; });
  return std::min(kMostPartials, divide_up(rows, at_once));
}
// Numbers that SquaresWork::partial gets.
inline std::int64_t squares_parts(std::int64_t count) {
  return divide_up(count, Squares::kElements);
}

template <class Run>
void launch(const RmsNormWork& work, const Run& run) {
  with_type(work.type, [&]<class T>(T) {
    with_deal(work.columns / kPack<T>, [&]<class D>(D) {
      run(RmsNorm<T, D::kRow, D::kHold>{{},
                                        static_cast<const T*>(work.x),
                                        work.weight,
                                        static_cast<T*>(work.value),
                                        work.rstd,
                                        work.kept,
                                        static_cast<float>(work.eps),
                                        static_cast<int>(work.columns),
                                        work.rows},
          divide_up(work.rows, D::kAtOnce));
    });
  });
}

template <class Run>
void launch(const RmsNormBackwardWork& work, const Run& run) {
  with_type(work.type, [&]<class T>(T) {
    with_deal(work.columns / kPack<T>, [&]<class D>(D) {
      run(RmsNormBackward<T, D::kRow, D::kHold>{{},
                                                static_cast<T*>(work.grad),
                                                static_cast<const T*>(work.x),
                                                work.rstd,
                                                work.weight,
                                                static_cast<const T*>(work.residual),
                                                work.partial,
                                                static_cast<int>(work.columns),
                                                work.rows,
                                                work.partials},
          work.partials);
    });
  });
  run(ColumnSums{work.partial, work.weight_grad, work.partials, work.columns},
      divide_up(work.columns, kWarp));
}

// Blocks of a token for kernels of kThreads threads.
inline RopeShape rope_shape(const RopeWork& work, int threads) {
  const int pairs = (work.query_heads + 2 * work.kv_heads) * (work.dim / 2 / pack_of(work.type));
  return {work.query_heads, work.kv_heads, work.dim, static_cast<int>(divide_up(pairs, threads))};
}

template <class Run>
void launch(const RopeSplitWork& work, const Run& run) {
  with_type(work.type, [&]<class T>(T) {
    const RopeShape shape = rope_shape(work, RopeSplit<T>::kThreads);
    run(RopeSplit<T>{static_cast<const T*>(work.qkv), work.positions, work.table,
                     static_cast<T*>(work.query), static_cast<T*>(work.key),
                     static_cast<T*>(work.value), shape},
        work.tokens * shape.parts);
  });
}

template <class Run>
void launch(const RopeMergeWork& work, const Run& run) {
  const auto merge = [&]<class In, class T>(In, T) {
    const RopeShape shape = rope_shape(work, RopeMerge<In, T>::kThreads);
    run(RopeMerge<In, T>{static_cast<const In*>(work.query), static_cast<const In*>(work.key),
                         static_cast<const In*>(work.value), work.positions, work.table,
                         static_cast<T*>(work.qkv), shape},
        work.tokens * shape.parts);
  };
  if (work.type == Type::kFloat32) {
    merge(float{}, float{});
  } else if (work.grad_type == Type::kFloat32) {
    merge(float{}, Bfloat16{});
  } else {
    merge(Bfloat16{}, Bfloat16{});
  }
}

template <class Run>
void launch(const SwigluWork& work, const Run& run) {
  with_type(work.type, [&]<class T>(T) {
    using Kernel = Swiglu<T>;
    const auto parts = static_cast<int>(divide_up(work.width, Kernel::kThreads * kPack<T>));
    run(Kernel{static_cast<const T*>(work.gate_up), static_cast<T*>(work.value),
               static_cast<int>(work.width), parts},
        work.rows * parts);
  });
}

template <class Run>
void launch(const SwigluBackwardWork& work, const Run& run) {
  with_type(work.type, [&]<class T>(T) {
    using Kernel = SwigluBackward<T>;
    const auto parts = static_cast<int>(divide_up(work.width, Kernel::kThreads * kPack<T>));
    run(Kernel{static_cast<T*>(work.gate_up), static_cast<T*>(work.hidden_grad),
               static_cast<int>(work.width), parts},
        work.rows * parts);
  });
}

template <class Run>
void launch(const CrossEntropyWork& work, const Run& run) {
  with_type(work.type, [&]<class T>(T) {
    run(CrossEntropy<T>{static_cast<T*>(work.logits), work.target, work.weight, work.terms,
                        work.scale, work.columns, work.gradient},
        work.rows);
  });
}

template <class Run>
void launch(const AdamWWork& work, const Run& run) {
  const bool wide = aligned(work.weight) && aligned(work.grad) && aligned(work.exp_avg) &&
                    aligned(work.exp_avg_sq) && aligned(work.copy);
  const auto narrowed = [](double x) { return static_cast<float>(x); };
  run(AdamW{.weight = work.weight,
            .grad = work.grad,
            .exp_avg = work.exp_avg,
            .exp_avg_sq = work.exp_avg_sq,
            .copy = static_cast<Bfloat16*>(work.copy),
            .count = work.count,
            .wide = wide,
            .factor = narrowed(work.factor),
            .beta1 = narrowed(work.beta1),
            .other1 = narrowed(1.0 - work.beta1),
            .beta2 = narrowed(work.beta2),
            .other2 = narrowed(1.0 - work.beta2),
            .eps = narrowed(work.eps),
            .keep = narrowed(work.keep),
            .rate = narrowed(work.rate),
            .root = narrowed(work.root)},
      divide_up(work.count, AdamW::kElements));
}

template <class Run>
void launch(const SquaresWork& work, const Run& run) {
  run(Squares{work.data, work.partial, work.count, aligned(work.data)}, squares_parts(work.count));
}

template <class Run>
void launch(const TotalWork& work, const Run& run) {
  run(Total{work.numbers, work.total, work.count}, 1);
}

}  // namespace infinipipe::fused
