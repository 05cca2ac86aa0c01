// plan.json: {"format": "infinipipe.plan", "version": 1, ...}.
#pragma once

#include <string>

#include "infinipipe/base/json.h"
#include "infinipipe/core/plan.h"

namespace infinipipe {

// Reading checks types and ranges of single fields (InputError naming `where` and the field), and
// that `hash`, where present, fits the content; validate() checks what fields mean together.
Plan plan_from_json(const Json& json, const std::string& where);
Plan read_plan(const std::string& path);

// Includes `hash`.
Json plan_to_json(const Plan& plan);
// One chunk a line, readable in review. Whole file in one step.
void write_plan(const std::string& path, const Plan& plan);

// 32 hex digits over the canonical JSON without `hash`, `predicted` and timings: the same on every
// rank and machine for the same decisions.
std::string plan_hash(const Plan& plan);

}  // namespace infinipipe
