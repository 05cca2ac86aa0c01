// What text the program takes that ends in the JSON files it writes.
#pragma once

#include <string_view>

namespace infinipipe {

// Throws InputError(name, ...) for text that JSON cannot hold or a file's path cannot have: bytes
// that are not UTF-8, or a NUL. set_config() asks it for every key.
void require_text(std::string_view name, std::string_view value);

}  // namespace infinipipe
