// What is asked of the fused kernels, as plain values: one struct for each. Pointers are to the
// device's memory; contiguous; type-erased elements are of `type`. `serves` says which shapes and
// addresses have a kernel: for others the composed operations stay.
#pragma once

#include <cstdint>

namespace infinipipe::fused {

enum class Type { kFloat32, kBfloat16 };

constexpr int size_of(Type type) { return type == Type::kFloat32 ? 4 : 2; }
constexpr int pack_of(Type type) { return 16 / size_of(type); }  // elements of one access
inline bool aligned(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
}

// RMSNorm of x [rows, columns] into `value`, with weight [columns] float32. If `kept` is null, the
// rows' rstd, float32, goes to `rstd`; else it is taken from `kept`.
struct RmsNormWork {
  Type type{};
  const void* x = nullptr;
  const float* weight = nullptr;
  void* value = nullptr;
  float* rstd = nullptr;
  const float* kept = nullptr;
  double eps = 0.0;
  std::int64_t rows = 0, columns = 0;
};

// kernels::rms_norm_backward; residual may be null. So many blocks as `partials` share the rows
// out; `partial` [partials, columns] is their scratch (choose.h: norm_partials).
struct RmsNormBackwardWork {
  Type type{};
  void* grad = nullptr;
  const void* x = nullptr;
  const float* rstd = nullptr;
  const float* weight = nullptr;
  const void* residual = nullptr;
  float* weight_grad = nullptr;
  float* partial = nullptr;
  std::int64_t partials = 0;
  std::int64_t rows = 0, columns = 0;
};
// Widest row of a norm.
constexpr std::int64_t most_norm_columns(Type type) {
  return std::int64_t{256} * 8 * pack_of(type);
}
constexpr bool serves_norm(Type type, std::int64_t columns) {
  return columns > 0 && columns % pack_of(type) == 0 && columns <= most_norm_columns(type);
}

// kernels::rope_split and rope_merge. The gradients of a merge have grad_type: `type` or float32.
struct RopeWork {
  Type type{};
  Type grad_type{};
  const std::int64_t* positions = nullptr;
  const float* table = nullptr;
  std::int64_t tokens = 0;
  int query_heads = 0, kv_heads = 0, dim = 0;
};
struct RopeSplitWork : RopeWork {
  const void* qkv = nullptr;
  void* query = nullptr;
  void* key = nullptr;
  void* value = nullptr;
};
struct RopeMergeWork : RopeWork {
  const void* query = nullptr;
  const void* key = nullptr;
  const void* value = nullptr;
  void* qkv = nullptr;
};
constexpr bool serves_rope(Type type, std::int64_t dim) {
  return dim > 0 && dim % (2 * pack_of(type)) == 0;
}

// kernels::swiglu and swiglu_backward.
struct SwigluWork {
  Type type{};
  const void* gate_up = nullptr;
  void* value = nullptr;
  std::int64_t rows = 0, width = 0;
};
struct SwigluBackwardWork {
  Type type{};
  void* gate_up = nullptr;
  void* hidden_grad = nullptr;
  std::int64_t rows = 0, width = 0;
};
constexpr bool serves_swiglu(Type type, std::int64_t width) {
  return width > 0 && width % pack_of(type) == 0;
}

// kernels::cross_entropy, of any width: row r's part of the sum goes to terms[r].
struct CrossEntropyWork {
  Type type{};
  void* logits = nullptr;
  const std::int64_t* target = nullptr;
  const double* weight = nullptr;
  double* terms = nullptr;
  double scale = 1.0;
  bool gradient = false;
  std::int64_t rows = 0, columns = 0;
};

// loops::adamw on float32; `copy`, which may be null, gets the new weights in bfloat16.
struct AdamWWork {
  float* weight = nullptr;
  const float* grad = nullptr;
  float* exp_avg = nullptr;
  float* exp_avg_sq = nullptr;
  void* copy = nullptr;
  std::int64_t count = 0;
  double factor = 1.0, beta1 = 0.0, beta2 = 0.0, eps = 0.0, keep = 1.0, rate = 0.0, root = 1.0;
};

// Sums of squares of parts of float32 data to `partial` (choose.h: squares_parts).
struct SquaresWork {
  const float* data = nullptr;
  double* partial = nullptr;
  std::int64_t count = 0;
};

// *total = the sum of `count` numbers, in a fixed order.
struct TotalWork {
  const double* numbers = nullptr;
  double* total = nullptr;
  std::int64_t count = 0;
};

}  // namespace infinipipe::fused
