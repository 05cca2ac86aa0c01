// Choosing the next token from logits.
#pragma once

#include <cstdint>
#include <vector>

#include "base/random.h"

namespace infinipipe {

// Softmax at `temperature`, cut to the smallest set of likeliest tokens whose probability reaches
// `top_p` (always at least one), then a draw. temperature 0: the likeliest token, the lowest id on
// ties. Logits must not be empty; RunError where one is not finite. temperature >= 0; 0 < top_p
// <= 1.
std::int64_t sample_token(const std::vector<double>& logits, double temperature, double top_p,
                          Random& random);

}  // namespace infinipipe
