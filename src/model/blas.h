// The matrix product of the BLAS that LibTorch carries, on raw row-major matrices.
#pragma once

#include <cstdint>

namespace infinipipe::blas {

bool available();

// c [rows, columns] = alpha a b + beta c, with a [rows, depth] and b [depth, columns], or their
// transposes in memory: a_transposed: a lies as [depth, rows]; b_transposed: as [columns, depth].
// Strides are between rows in memory. Runs on the calling thread's share of threads.
struct Product {
  std::int64_t rows, columns, depth;
  bool a_transposed = false;
  bool b_transposed = false;
};
void multiply(const Product& product, double alpha, const double* a, std::int64_t a_stride,
              const double* b, std::int64_t b_stride, double beta, double* c,
              std::int64_t c_stride);
void multiply(const Product& product, float alpha, const float* a, std::int64_t a_stride,
              const float* b, std::int64_t b_stride, float beta, float* c, std::int64_t c_stride);

}  // namespace infinipipe::blas
