#include "model/blas.h"

// Fortran's interface, exported by LibTorch builds that link a BLAS statically (the x86-64 wheels
// carry MKL). Weak: a build that lacks it still links.
extern "C" {
__attribute__((weak)) void sgemm_(const char* a_form, const char* b_form, const int* m,
                                  const int* n, const int* k, const float* alpha, const float* a,
                                  const int* lda, const float* b, const int* ldb, const float* beta,
                                  float* c, const int* ldc);
__attribute__((weak)) void dgemm_(const char* a_form, const char* b_form, const int* m,
                                  const int* n, const int* k, const double* alpha, const double* a,
                                  const int* lda, const double* b, const int* ldb,
                                  const double* beta, double* c, const int* ldc);
}

namespace infinipipe::blas {

namespace {

// Column-major BLAS sees row-major matrices as their transposes: c^T = b^T a^T.
template <class Scalar, class Routine>
void call(Routine* routine, const Product& product, Scalar alpha, const Scalar* a,
          std::int64_t a_stride, const Scalar* b, std::int64_t b_stride, Scalar beta, Scalar* c,
          std::int64_t c_stride) {
  const int m = static_cast<int>(product.columns), n = static_cast<int>(product.rows);
  const int k = static_cast<int>(product.depth), lda = static_cast<int>(b_stride);
  const int ldb = static_cast<int>(a_stride), ldc = static_cast<int>(c_stride);
  routine(product.b_transposed ? "T" : "N", product.a_transposed ? "T" : "N", &m, &n, &k, &alpha, b,
          &lda, a, &ldb, &beta, c, &ldc);
}

}  // namespace

bool available() { return sgemm_ != nullptr && dgemm_ != nullptr; }

void multiply(const Product& product, double alpha, const double* a, std::int64_t a_stride,
              const double* b, std::int64_t b_stride, double beta, double* c,
              std::int64_t c_stride) {
  call(dgemm_, product, alpha, a, a_stride, b, b_stride, beta, c, c_stride);
}

void multiply(const Product& product, float alpha, const float* a, std::int64_t a_stride,
              const float* b, std::int64_t b_stride, float beta, float* c, std::int64_t c_stride) {
  call(sgemm_, product, alpha, a, a_stride, b, b_stride, beta, c, c_stride);
}

}  // namespace infinipipe::blas
