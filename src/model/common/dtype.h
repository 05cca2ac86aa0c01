// Dtypes and devices as LibTorch knows them.
#pragma once

#include <c10/core/DeviceType.h>
#include <c10/core/ScalarType.h>

#include "infinipipe/core/device.h"
#include "infinipipe/core/dtype.h"

namespace infinipipe {

at::ScalarType scalar_type(Dtype dtype);
c10::DeviceType device_type(Device device);

}  // namespace infinipipe
