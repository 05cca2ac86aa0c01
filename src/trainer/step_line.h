// The line that a step prints.
#pragma once

#include <string>

#include "infinipipe/trainer/trainer.h"

namespace infinipipe {

// "step    12  loss 3.2145  grad 0.812  lr 9.8e-03  14,210 tok/s  mfu 61.0%  bubble 4.1%  ..."
std::string step_line(const StepMetrics& metrics);

}  // namespace infinipipe
