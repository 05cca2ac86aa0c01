// How many GPUs there are.
#pragma once

namespace infinipipe {

// 0 where this machine or this build of LibTorch has none.
int cuda_devices();

}  // namespace infinipipe
