// plan.json: {"format": "infinipipe.plan", "version": 1, ...}, or version 2 with "requires": names
// of what a reader of version 1 would misread.
#pragma once

#include <string>

#include "infinipipe/base/json.h"
#include "infinipipe/core/plan.h"

namespace infinipipe {

// Reading checks types and ranges of single fields (InputError naming `where` and the field), and
// that `hash`, where present, fits the content; validate() checks what fields mean together.
// `predicted`, `memory`, `profile_hash`, `hash`, `planner` and `step` may be absent, and so may
// a chunk's `context` (where present it must be what the slices say).
enum class HashCheck {
  kRequire,
  kIgnore,  // for a command that names what is wrong with a changed plan
};

// Throws InputError where it is no plan, or one that this reader would misread: of an unknown
// version, or with an unknown name in "requires".
void check_plan_format(const Json& json, const std::string& where);

Plan plan_from_json(const Json& json, const std::string& where,
                    HashCheck hash_check = HashCheck::kRequire);
Plan read_plan(const std::string& path, HashCheck hash_check = HashCheck::kRequire);

// Includes `hash`.
Json plan_to_json(const Plan& plan);
// One chunk a line, readable in review. Whole file in one step.
void write_plan(const std::string& path, const Plan& plan);

// 32 hex digits over the canonical JSON without `hash`, `predicted`, `planner.seconds`,
// `planner.solver.seconds`, `planner.candidates`, `stage_pace` and what is told about chunk times:
// the same on every rank and machine for the same decisions.
std::string plan_hash(const Plan& plan);

}  // namespace infinipipe
