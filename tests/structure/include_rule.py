#!/usr/bin/env python3
"""The layers of docs/architecture.md, enforced on every #include; and the library's face: public
headers include public headers alone, and are those that docs/library.md lists.

usage: include_rule.py ROOT       checks a source tree
       include_rule.py --self-test  shows that each kind of violation is found
"""
import pathlib
import re
import sys
import tempfile

import rule_program

# module -> modules it may include (itself always)
PLANNING = {
    "base": set(),
    "core": {"base"},
    "data": {"base", "core"},
    "cost": {"base", "core"},
    "planner": {"base", "core", "cost"},
    "baselines": {"base", "core", "cost", "planner"},
    "sim": {"base", "core", "cost"},
    "report": {"base", "core"},
    "comm": {"base", "core"},
}
RUNNING = {
    "model": {"base", "core", "comm"},
    "dist": {"base", "core", "comm"},
    "runtime": {"base", "core", "comm", "dist", "model"},
    "profile": {"base", "core", "cost", "dist", "model", "runtime"},
}
RUNNING["trainer"] = set(PLANNING) | set(RUNNING)
RUNNING["cli"] = set(PLANNING) | set(RUNNING)
ALLOWED = {**PLANNING, **RUNNING}

# Modules whose folders stand side by side, with the one that all of them may include: a file in a
# folder sees that folder, the shared one and what lies in the module's own folder.
SHARED_FOLDER = {"model": "common"}

# third-party headers -> files that own them
OWNERS = [
    (re.compile(r"^(ATen|torch|c10)/"), re.compile(r"^src/(dist|model|runtime|profile|trainer)/|^src/cli/\w+_torch\.cpp$")),
    (re.compile(r"highs_c_api\.h$"), re.compile(r"^src/planner/recompute/milp\.cpp$")),
    (re.compile(r"^toml\+\+/"), re.compile(r"^src/core/config_toml\.cpp$")),
    (re.compile(r"^CLI/"), re.compile(r"^src/cli/")),
    (re.compile(r"^sentencepiece"), re.compile(r"^src/data/sentencepiece_tokenizer\.cpp$")),
    (re.compile(r"^zlib\.h$"), re.compile(r"^src/data/gzip_decoder\.cpp$")),
    (re.compile(r"^zstd\.h$"), re.compile(r"^src/data/zstd_decoder\.cpp$")),
    (re.compile(r"^cuda(_\w+)?\.h$"), re.compile(r"^src/model/common/fused/(cuda/.*|memory\.h)$")),
    (re.compile(r"^xxhash\.h$"), re.compile(r"^src/base/hash\.cpp$")),
    (re.compile(r"^gloo/"), re.compile(r"^src/dist/(gloo\.cpp|gloo_headers/.*)$")),
    (re.compile(r"^(mpi|nccl)\.h$|/ProcessGroupNCCL\.hpp$"), re.compile(r"^src/dist/nccl\.cpp$")),
    (re.compile(r"/ProcessGroupGloo\.hpp$"), re.compile(r"^src/dist/gloo\.cpp$")),
]
# What a public header may include beside ours and the standard library's.
PUBLIC_THIRD_PARTY = {"nlohmann/json_fwd.hpp"}
LIBRARY_PAGE = "docs/library.md"
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]')


def module_of(path):
    """Module of a file of ours by its path from the root, or None."""
    match = re.match(r"(?:src|include/infinipipe)/(\w+)/", path)
    return match.group(1) if match else None


def module_of_include(name):
    match = re.match(r"(?:infinipipe/)?(\w+)/[\w/]+\.h$", name)
    return match.group(1) if match and match.group(1) in ALLOWED else None


def folder_of(name):
    """First folder within its module ("model/llama/layer.h": "llama"), or ""."""
    parts = name.split("/")
    return parts[1] if len(parts) > 2 else ""


def crosses_folders(path, name):
    """Whether a private include of the same module enters a folder that its file may not see."""
    own, other = folder_of(path.removeprefix("src/")), folder_of(name)
    shared = SHARED_FOLDER.get(module_of(path))
    return shared is not None and own != "" and other not in ("", own, shared)


def violations(root):
    found = []
    files = sorted(p for top in ("src", "include") for p in (root / top).rglob("*")
                   if p.suffix in (".h", ".cpp", ".cu", ".cuh"))
    if not files:
        return ["no source files under " + str(root)]
    for file in files:
        path = file.relative_to(root).as_posix()
        module = module_of(path)
        if module not in ALLOWED:
            found.append(f"{path}: module '{module}' has no row in the include rule")
            continue
        for number, line in enumerate(file.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            name = match.group(1)
            target = module_of_include(name)
            if target and target != module and target not in ALLOWED[module]:
                found.append(f"{path}:{number}: {module} must not include {target} ({name})")
            if target and target == module and path.startswith("src/") and \
                    not name.startswith("infinipipe/") and crosses_folders(path, name):
                found.append(f"{path}:{number}: a folder beside {folder_of(name)}/ includes "
                             f"its {name}")
            for header, owner in OWNERS:
                if header.search(name) and not owner.search(path):
                    found.append(f"{path}:{number}: <{name}> belongs to {owner.pattern}")
            if path.startswith("include/"):
                found += public_include(root, f"{path}:{number}", name)
    return found + listed_headers(root)


def public_include(root, where, name):
    """What is wrong with a public header's include of that name: a list of none or one."""
    if name.startswith("infinipipe/"):
        return [] if (root / "include" / name).is_file() else [
            f"{where}: a public header includes {name}, which is not public"]
    if "/" in name and name not in PUBLIC_THIRD_PARTY or name.endswith(".h"):
        return [f"{where}: a public header includes the private or third-party {name}"]
    return []


def listed_headers(root):
    """The page's lists of public headers against the folder."""
    folder = root / "include/infinipipe"
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*.h")}
    page = root / LIBRARY_PAGE
    text = page.read_text() if page.is_file() else ""
    listed = set(re.findall(r"`(\w+/\w+\.h)`", text.partition("\n## Headers\n")[2]))
    return [f"include/infinipipe/{header}: {LIBRARY_PAGE} does not list this public header"
            for header in sorted(there - listed)] + [
            f"{LIBRARY_PAGE}: lists {header}, which is not in include/infinipipe"
            for header in sorted(listed - there)]


def self_test():
    page = "# The library\n`core/old.h`\n## Headers\n`core/a.h`, `core/b.h`\n"
    face = {"include/infinipipe/core/a.h": "#include <vector>",
            "include/infinipipe/core/b.h": '#include "infinipipe/core/a.h"', LIBRARY_PAGE: page}

    def check(sources):
        with tempfile.TemporaryDirectory() as folder:
            for path, text in {**face, **sources}.items():
                file = pathlib.Path(folder) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text if path.endswith(".md") else "// a comment\n" + text + "\n")
            return violations(pathlib.Path(folder))

    cases = [
        ("src/planner/a.cpp", '#include "infinipipe/sim/simulator.h"'),
        ("src/planner/a.cpp", '#include "sim/replica_run.h"'),
        ("src/runtime/a.cpp", '#include "infinipipe/planner/planner.h"'),
        ("src/core/a.cpp", "#include <ATen/ATen.h>"),
        ("src/runtime/a.cpp", "#include <cuda_runtime.h>"),
        ("src/cost/a.cpp", '#include "interfaces/highs_c_api.h"'),
        ("src/stray/a.cpp", "#include <vector>"),
        ("src/core/deep/a.cpp", '#include "infinipipe/sim/simulator.h"'),
        ("src/model/common/a.cpp", '#include "model/llama/layer.h"'),
        ("src/model/llama/a.cpp", '#include "model/qwen/layer.h"'),
        ("include/infinipipe/core/a.h", '#include "base/secret.h"'),
        ("include/infinipipe/core/a.h", '#include "infinipipe/core/secret.h"'),
        ("include/infinipipe/core/a.h", "#include <nlohmann/json.hpp>"),
        ("include/infinipipe/core/a.h", "#include <nobodys.h>"),
        ("include/infinipipe/core/c.h", ""),  # not on the page
        (LIBRARY_PAGE, page + "`core/gone.h`\n"),
    ]
    for path, text in cases:
        if len(found := check({path: text})) != 1:
            sys.exit(f"not found once: {path}: {text}: {found}")
    allowed = [
        ("src/model/models.cpp", '#include "model/llama/layer.h"'),
        ("src/model/llama/a.cpp", '#include "model/common/attention/attention.h"'),
        ("src/model/common/a.cpp", '#include "model/models.h"'),
        ("include/infinipipe/core/a.h", "#include <nlohmann/json_fwd.hpp>"),
    ]
    for path, text in allowed:
        if found := check({path: text}):
            sys.exit(f"found without a reason: {found[0]}")
    print(f"{len(cases)} violations are found")


if __name__ == "__main__":
    rule_program.run(__doc__, violations, self_test, "every include respects the layers")
