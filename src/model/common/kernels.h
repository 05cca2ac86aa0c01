// Norm, RoPE, SwiGLU, cross-entropy and embedding kernels, forward and backward. Each without a
// path is the processor's: fused loops (kernels_cpu.cpp) in float32 arithmetic for bfloat16. With a
// path it is that path's: the processor's, or (kernels_device.h) kernels of our own (fused/), and
// composed ATen operations (kernels_aten.cpp) for shapes, dtypes and devices that those do not
// serve. All give the same numbers up to rounding.
//
// Tensors are contiguous. "acc" is float64 for float64 and float32 for all else; results do not
// depend on the number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "infinipipe/core/model_spec.h"
#include "infinipipe/core/rope.h"
#include "model/common/compute_path.h"

namespace infinipipe::kernels {

struct Normed {
  at::Tensor value;  // [T, D] compute dtype
  at::Tensor rstd;   // [T] acc
};
// value = x * rstd * weight, rstd = 1 / sqrt(mean(x^2) + eps); weight [D] acc.
Normed rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
// The same value again, from a kept rstd (bit-equal).
at::Tensor rms_norm_again(const at::Tensor& x, const at::Tensor& rstd, const at::Tensor& weight);
// grad: in, gradient of the normed value; out, gradient of x, plus `residual` [T, D] if defined.
// Adds to weight_grad [D] acc.
void rms_norm_backward(at::Tensor& grad, const at::Tensor& x, const at::Tensor& rstd,
                       const at::Tensor& weight, const at::Tensor& residual,
                       at::Tensor& weight_grad);

// Cosines [P, head_dim / 2] then sines of positions [0, P), in one tensor [P, head_dim] acc, times
// the frequencies' attention factor; angles are computed in float64.
at::Tensor rope_table(std::int64_t positions, const RopeFrequencies& frequencies,
                      const at::TensorOptions& options);

struct Heads {
  std::int64_t query = 0;
  std::int64_t key_value = 0;
  std::int64_t dim = 0;
  std::int64_t window = 0;  // query i sees keys j with i - window < j <= i; 0: all j <= i

  static Heads of(const ModelSpec& model) {
    return {model.num_attention_heads, model.num_key_value_heads, model.resolved_head_dim(),
            model.sliding_window};
  }

  std::int64_t query_width() const { return query * dim; }
  std::int64_t kv_width() const { return key_value * dim; }
};
struct QueryKeyValue {
  at::Tensor query;  // [T, Q]
  at::Tensor key;    // [T, KV]
  at::Tensor value;  // [T, KV]
};
// Splits the projection [T, Q + 2 KV] and rotates queries and keys to their positions (int64 [T]);
// Hugging Face's rotate_half convention.
QueryKeyValue rope_split(const at::Tensor& qkv, const at::Tensor& positions,
                         const at::Tensor& table, const Heads& heads);
// The transpose: gradients (compute or acc dtype) -> gradient of the projection in `dtype`.
at::Tensor rope_merge(const QueryKeyValue& grad, const at::Tensor& positions,
                      const at::Tensor& table, const Heads& heads, at::ScalarType dtype);

// silu(gate) * up from rows of gate then up: [T, 2 I] -> [T, I].
at::Tensor swiglu(const at::Tensor& gate_up);
// In place: gate_up becomes its gradient, hidden_grad [T, I] becomes swiglu(gate_up).
void swiglu_backward(at::Tensor& gate_up, at::Tensor& hidden_grad);

// Sum over rows of weight x (log-sum-exp(logits) - logits[target]), a float64 scalar where the
// logits are: nothing waits for a device. With `gradient`, logits [B, V] become their gradient,
// weight x (softmax - one-hot) x scale. Rows of weight 0 count nothing, whatever their target.
// target int64 [B], weight [B] float32 or float64. `terms`, if not null, gets each row's part of
// the sum, float64 [B].
at::Tensor cross_entropy(at::Tensor& logits, const at::Tensor& target, const at::Tensor& weight,
                         double scale, bool gradient, at::Tensor* terms = nullptr);

// grad [V, D] acc += rows of `rows_grad` [T, D] at `ids` int64 [T].
void embedding_backward(const at::Tensor& ids, const at::Tensor& rows_grad, at::Tensor& grad);

// The composed versions, the reference of all fused ones.
namespace composed {
Normed rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
at::Tensor rms_norm_again(const at::Tensor& x, const at::Tensor& rstd, const at::Tensor& weight);
void rms_norm_backward(at::Tensor& grad, const at::Tensor& x, const at::Tensor& rstd,
                       const at::Tensor& weight, const at::Tensor& residual,
                       at::Tensor& weight_grad);
QueryKeyValue rope_split(const at::Tensor& qkv, const at::Tensor& positions,
                         const at::Tensor& table, const Heads& heads);
at::Tensor rope_merge(const QueryKeyValue& grad, const at::Tensor& positions,
                      const at::Tensor& table, const Heads& heads, at::ScalarType dtype);
at::Tensor swiglu(const at::Tensor& gate_up);
void swiglu_backward(at::Tensor& gate_up, at::Tensor& hidden_grad);
at::Tensor cross_entropy(at::Tensor& logits, const at::Tensor& target, const at::Tensor& weight,
                         double scale, bool gradient, at::Tensor* terms = nullptr);
void embedding_backward(const at::Tensor& ids, const at::Tensor& rows_grad, at::Tensor& grad);
}  // namespace composed

Normed rms_norm(const ComputePath& path, const at::Tensor& x, const at::Tensor& weight, double eps);
at::Tensor rms_norm_again(const ComputePath& path, const at::Tensor& x, const at::Tensor& rstd,
                          const at::Tensor& weight);
void rms_norm_backward(const ComputePath& path, at::Tensor& grad, const at::Tensor& x,
                       const at::Tensor& rstd, const at::Tensor& weight, const at::Tensor& residual,
                       at::Tensor& weight_grad);
QueryKeyValue rope_split(const ComputePath& path, const at::Tensor& qkv,
                         const at::Tensor& positions, const at::Tensor& table, const Heads& heads);
at::Tensor rope_merge(const ComputePath& path, const QueryKeyValue& grad,
                      const at::Tensor& positions, const at::Tensor& table, const Heads& heads,
                      at::ScalarType dtype);
at::Tensor swiglu(const ComputePath& path, const at::Tensor& gate_up);
void swiglu_backward(const ComputePath& path, at::Tensor& gate_up, at::Tensor& hidden_grad);
at::Tensor cross_entropy(const ComputePath& path, at::Tensor& logits, const at::Tensor& target,
                         const at::Tensor& weight, double scale, bool gradient,
                         at::Tensor* terms = nullptr);
void embedding_backward(const ComputePath& path, const at::Tensor& ids, const at::Tensor& rows_grad,
                        at::Tensor& grad);

}  // namespace infinipipe::kernels
