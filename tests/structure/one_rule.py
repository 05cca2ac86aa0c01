#!/usr/bin/env python3
"""One clock and one memory rule: src/cost/pipeline_clock.h and src/cost/memory_steps.h alone say
when an operation begins, when a message leaves and what an operation takes and frees.

usage: one_rule.py ROOT         checks a source tree
       one_rule.py --self-test  shows that each kind of violation is found
"""
import pathlib
import re
import sys
import tempfile

import rule_program

CLOCK = "src/cost/pipeline_clock.h"
MEMORY = "src/cost/memory_steps.h"
OPS = "include/infinipipe/core/plan.h"

# What stands once: pattern -> the file that has it.
DEFINITIONS = [
    (re.compile(r"\bclass\s+PipelineClock\b[^;{]*\{"), CLOCK),
    (re.compile(r"\bMemoryStep\s+memory_step\(\s*Op\b[^;{]*\{"), MEMORY),
    (re.compile(r"\bbool\s+starts_backward\(\s*Op\b[^;{]*\{"), OPS),
]

MESSAGE_TIME = r"\b(?:transfer|message|flight)(?!\w*(?:bytes|per_token))\w*\b"
# What nobody else writes: pattern, what it is, files that may.
FORBIDDEN = [
    (re.compile(r"\b\w*links?_(?:down|up|free|busy|until|end|next)\w*\b"
                r"|\b\w*(?:down|up|forward|backward|activation|gradient)_(?:free|busy|links?)\w*\b"),
     "keeps the state of a link", {CLOCK}),
    (re.compile(rf"\bmax\([^;]*\+[^;]*{MESSAGE_TIME}|{MESSAGE_TIME}[^;]*\+[^;]*\bmax\("),
     "computes when a message arrives", {CLOCK}),
    (re.compile(r"\bmax\(\s*[\w.\[\]>-]*\bfree_?(?:\[[^;]*?\])?\s*,"),
     "computes when an operation begins", {CLOCK}),
    (re.compile(r"(?<!PipelineClock::)\bkNotArrived\b"), "keeps arrivals", {CLOCK}),
    (re.compile(r"[\w\])](?:\.|->)transfer\("), "asks for a message's time",
     {"src/planner/chunking/chunk_table.cpp",      # fills the planner's table
      "src/planner/schedules/held_weights.cpp",  # give it to a clock
      "src/sim/replica_run.h",
      "src/baselines/megatron_cost.cpp"}),
    (re.compile(r"[\w\])](?:\.|->)(?:activation_bytes|kept_kv_bytes|kv_grad_bytes"
                r"|evaluation_kv_bytes|pending_bytes|recompute_workspace_bytes"
                r"|forward_temporary|backward_temporary)\("),
     "counts an operation's memory",
     {MEMORY,
      "src/planner/chunking/chunk_table.cpp",      # fills the planner's table
      "src/planner/chunking/memory_bounds.cpp",     # a layer that runs again, by the token
      "src/planner/recompute/keep_more.cpp",          # what a layer keeps more
      "src/baselines/device_group_cost.cpp",     # one stage: bytes of a token
      "src/baselines/megatron_cost.cpp",  # fills what run_1f1b() counts with
      "src/profile/fit.cpp"}),            # beside what was measured
    (re.compile(r"(?:\.|->)(?:grads_open|grads_free|forward_workspace)\b(?!\s*=[^=])"),
     "counts an operation's memory",
     {"src/planner/chunking/chunk_table.h",
      "src/planner/schedules/grouping.cpp",         # a mean chunk's estimate
      "src/baselines/pipeline_1f1b.cpp",  # hands them to the rule
      "src/baselines/megatron_cost.cpp"}),
    (re.compile(r"==\s*Op::kBackward\s*\|\|[^;]*?==\s*Op::k(?:InputGrad|WeightGrad)\b"
                r"|==\s*Op::k(?:InputGrad|WeightGrad)\s*\|\|[^;]*?==\s*Op::kBackward\b"),
     "asks for B or I, or B or W, by itself", {OPS}),
]

COMMENT_OR_STRING = re.compile(r'//[^\n]*|/\*.*?\*/|R"\((?:.|\n)*?\)"|"(?:\\.|[^"\\\n])*"', re.S)


def code_of(text):
    """The text without comments and strings; lines stay where they are."""
    return COMMENT_OR_STRING.sub(lambda m: "\n" * m.group().count("\n"), text)


def violations(root):
    found = []
    files = sorted(p for top in ("src", "include") for p in (root / top).rglob("*")
                   if p.suffix in (".h", ".cpp", ".cu", ".cuh"))
    places = [[] for _ in DEFINITIONS]
    for file in files:
        path = file.relative_to(root).as_posix()
        code = code_of(file.read_text())
        for (pattern, _), seen in zip(DEFINITIONS, places):
            seen += [path] * len(pattern.findall(code))
        for pattern, what, allowed in FORBIDDEN:
            if path in allowed:
                continue
            for match in pattern.finditer(code):
                line = code.count("\n", 0, match.start()) + 1
                found.append(f"{path}:{line}: {what} ('{' '.join(match.group().split())}')")
    for (pattern, owner), seen in zip(DEFINITIONS, places):
        if seen != [owner]:
            found.append(f"{pattern.pattern}: defined in {seen or 'no file'}, not once in {owner}")
    for _, _, allowed in FORBIDDEN:
        found += [f"{path} is named by this test and does not exist" for path in sorted(allowed)
                  if not (root / path).is_file()]
    return found


def self_test():
    clean = {path: "" for _, _, allowed in FORBIDDEN for path in allowed}
    clean[CLOCK] = ("class PipelineClock final {\n  Seconds link_free = 0.0;\n"
                    "  Seconds send() { return std::max(produced, link_free) + transfer[c]; }\n};\n")
    clean[MEMORY] = "inline MemoryStep memory_step(Op op, const ChunkBytes& chunk) { return {}; }\n"
    clean[OPS] = "constexpr bool starts_backward(Op op) { return op == Op::kBackward; }\n"
    clean["src/sim/a.h"] = ("// std::max(free, ready), then max(end, link_free) + transfer\n"
                            "if (clock.arrival(op, p, c) == PipelineClock::kNotArrived) break;\n"
                            "const auto links = cost.profile().links.p2p_seconds;\n"
                            "PipelineClock clock(stages, table.transfer);\n"
                            "bytes = std::max(bytes, bound + 2.0 * cost.message_bytes(tokens));\n")
    cases = [
        # What the schedulers had before they shared a clock.
        ("src/sim/a.h", "const Seconds begin = std::max(self.free, arrival);"),
        ("src/sim/a.h", "Seconds down_free = 0.0;"),
        ("src/planner/a.cpp", "link_down[p] = std::max(end, link_down[p]) + table.transfer[chunk];"),
        ("src/planner/a.cpp", "now = std::max(end, last[p]) + table.transfer[chunk];"),
        ("src/planner/a.cpp", "at = table.transfer[chunk] +\n     std::max(end, last[p]);"),
        ("src/planner/a.cpp", "end = std::max(free[p], ready) + taken;"),
        ("src/planner/a.cpp", "stage.forward_link = later;"),
        ("src/planner/a.cpp", "const Seconds taken = cost_.transfer(shape.tokens);"),
        ("src/baselines/a.cpp", "if (ready == kNotArrived) return false;"),
        ("src/planner/a.cpp", "bytes += entry.grads_open;"),
        ("src/planner/a.cpp", "bytes_ += recompute > 0 ? entry.forward_workspace : 0.0;"),
        ("src/sim/a.h", "bytes_.kv += cost_->kept_kv_bytes(stage_, chunk, recompute.layers);"),
        ("src/planner/a.cpp", "return op == Op::kBackward || op == Op::kInputGrad;"),
        ("src/planner/a.cpp", "if (s.op == Op::kWeightGrad || s.op == Op::kBackward) free(s);"),
        # A second definition, or none.
        ("src/planner/a.cpp", "class PipelineClock {\n};"),
        ("src/sim/b.cpp", "MemoryStep memory_step(Op op, const Entry& entry) { return {}; }"),
        (CLOCK, None),
    ]
    for added, line in [(None, "")] + cases:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for path, text in clean.items():
                file = root / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            if added:
                file = root / added
                file.parent.mkdir(parents=True, exist_ok=True)
                before = file.read_text() if file.exists() else ""
                file.write_text("" if line is None else before + line + "\n")
            problems = violations(root)
        if added is None and problems:
            sys.exit("found in a clean tree: " + "; ".join(problems))
        if added is not None and not problems:
            sys.exit(f"not found: {added}: {line}")
    print(f"{len(cases)} violations are found, and none in a clean tree")


if __name__ == "__main__":
    rule_program.run(__doc__, violations, self_test, "one clock, one memory rule")
