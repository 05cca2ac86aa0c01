// kernels.h for x86 with AVX2 and FMA.
#define INFINIPIPE_VECTOR_BYTES 32
#define INFINIPIPE_BLOCK_VECTORS 2
#include "model/common/attention/kernels_body.h"

namespace infinipipe::attention_kernels {

const Kernels<float>& avx2_float() { return kTable<float>; }
const Kernels<float, Narrow>& avx2_narrow() { return kTable<float, Narrow>; }
const Kernels<double>& avx2_double() { return kTable<double>; }

}  // namespace infinipipe::attention_kernels
