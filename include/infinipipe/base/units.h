// Units as plain numbers with telling names, and their spelling for people.
#pragma once

#include <cstdint>
#include <string>

namespace infinipipe {

using Tokens = std::int64_t;
using Bytes = double;  // the cost model's bytes may be fractional
using Seconds = double;

// "71.2 GiB", "512 B".
std::string format_bytes(Bytes bytes);
// "1.93 s", "41 ms", "12 us".
std::string format_seconds(Seconds seconds);
// "131,072".
std::string format_count(std::int64_t count);

}  // namespace infinipipe
