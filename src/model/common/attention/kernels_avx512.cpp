// kernels.h for x86 with AVX-512.
#define INFINIPIPE_VECTOR_BYTES 64
#define INFINIPIPE_BLOCK_VECTORS 4
#include "model/common/attention/kernels_body.h"

namespace infinipipe::attention_kernels {

const Kernels<float>& avx512_float() { return kTable<float>; }
const Kernels<float, Narrow>& avx512_narrow() { return kTable<float, Narrow>; }
const Kernels<double>& avx512_double() { return kTable<double>; }

}  // namespace infinipipe::attention_kernels
