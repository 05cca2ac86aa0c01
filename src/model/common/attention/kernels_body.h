// The loops of kernels.h for one instruction set. Included once by each
// kernels_<set>.cpp, after INFINIPIPE_VECTOR_BYTES (of a vector register) and
// INFINIPIPE_BLOCK_VECTORS (vectors across a register block of kBlockRows rows). Everything here
// and in the files below has internal linkage and calls no library code: what is compiled for one
// instruction set must not be linked to by others.
#include "model/common/attention/kernels_backward.h"
#include "model/common/attention/kernels_forward.h"

namespace infinipipe::attention_kernels {

namespace {

template <class Scalar, class In = Scalar>
constexpr Kernels<Scalar, In> kTable{forward_scratch<Scalar>, backward_scratch<Scalar>,
                                     forward<Scalar, In>, backward<Scalar, In>};

}  // namespace

}  // namespace infinipipe::attention_kernels
