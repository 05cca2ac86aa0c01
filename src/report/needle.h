// Pictures and tables of the passkey test.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "infinipipe/core/needle_losses.h"

namespace infinipipe {

// `needle` of what `eval --json` writes.
nlohmann::ordered_json needle_json(const NeedleLosses& losses);
// A line for each length, a column for each depth, and one of texts without the needle.
std::string needle_table(const NeedleLosses& losses);
// A self-contained page: the same as a heat map, green where the number is known and red where it
// is guessed as without the needle.
std::string needle_page(const NeedleLosses& losses, const std::string& name);

}  // namespace infinipipe
