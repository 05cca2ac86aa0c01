// kernels.h for whatever the compiler targets by itself.
#define INFINIPIPE_VECTOR_BYTES 16
#define INFINIPIPE_BLOCK_VECTORS 2
#include "model/common/attention/kernels_body.h"

namespace infinipipe::attention_kernels {

const Kernels<float>& base_float() { return kTable<float>; }
const Kernels<float, Narrow>& base_narrow() { return kTable<float, Narrow>; }
const Kernels<double>& base_double() { return kTable<double>; }

}  // namespace infinipipe::attention_kernels
