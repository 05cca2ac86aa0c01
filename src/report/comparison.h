// Several systems on the same batches, for terminals and as one HTML page.
#pragma once

#include <string>

#include "core/comparison.h"

namespace infinipipe {

// A row for each system: batches that it could run, mean step, tokens/s, bubble, highest peak, gap
// to its lower bound, speedup of the reference over it, and what it won with. Below it, why a batch
// could not be run, and for a published experiment the measured seconds beside the model's.
std::string systems_table(const Comparison& comparison);

// What a system won with, in a few words: "8 stages x SP 8, recompute 4 layers".
std::string settings_text(const Json& settings);

// One self-contained page: the table, mean steps as bars, every batch as points, settings per
// system. Inline SVG, no script, no other files. The same comparison but for plan_seconds gives the
// same bytes.
std::string html_comparison(const Comparison& comparison);
void write_html_comparison(const std::string& path, const Comparison& comparison);

}  // namespace infinipipe
