// The optimizer's loops over raw arrays, compiled for several instruction sets and chosen at load
// time; all of them give the same bits (no contraction to fused multiply-add).
#pragma once

#include <cstdint>

namespace infinipipe::loops {

// One AdamW step's numbers. With g = grad * factor:
//   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   w = keep w - rate m / (sqrt(v) root + eps)
struct AdamWNumbers {
  double factor = 1.0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double keep = 1.0;  // 1 - lr x weight decay
  double rate = 0.0;  // lr / (1 - beta1^t)
  double root = 1.0;  // 1 / sqrt(1 - beta2^t)
};

void adamw(float* weight, const float* grad, float* exp_avg, float* exp_avg_sq, std::int64_t count,
           const AdamWNumbers& numbers);
void adamw(double* weight, const double* grad, double* exp_avg, double* exp_avg_sq,
           std::int64_t count, const AdamWNumbers& numbers);

// In float64, in a fixed number of lanes.
double sum_of_squares(const float* data, std::int64_t count);
double sum_of_squares(const double* data, std::int64_t count);

}  // namespace infinipipe::loops
