// What a run's data is, in words.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/batch_source.h"

namespace infinipipe {

// Lines for the start of a run: each set with its size, its share of what is drawn and the steps
// that an epoch of it takes; what happens to documents that are too long, where there are any; and
// how batches are made, where it is by tokens.
std::vector<std::string> data_lines(const BatchSource& batches);

// Documents of all sets that are too long and therefore never drawn.
std::int64_t dropped_documents(const Corpus& corpus);

}  // namespace infinipipe
