#!/usr/bin/env python3
"""Names stand in one table: no planner, system, schedule, dtype or device name as a string elsewhere.

usage: name_rule.py ROOT       checks src/, include/ and benchmarks/ of a source tree
       name_rule.py --self-test  shows that each kind of violation is found

The names are read from the tables themselves, so that a new row is covered.
"""
import pathlib
import re
import sys
import tempfile

import rule_program

# Where the names may stand: rows (.name = "...") and constants (const char* kX = "...") of these.
# The first two hold the default planner and schedule, which core needs and the tables repeat by
# constant.
TABLES = [
    "include/infinipipe/core/config.h",
    "include/infinipipe/core/plan.h",
    "include/infinipipe/core/dtype.h",
    "include/infinipipe/core/device.h",
    "src/core/gpus.h",
    "src/planner/planners.h",
    "src/planner/planners.cpp",
    "src/planner/schedules/schedules.h",
    "src/planner/schedules/schedules.cpp",
    "src/baselines/systems.h",
    "src/baselines/systems.cpp",
]
ROW = re.compile(r'\.name = "([^"]+)"|constexpr const char\* k\w+ = "([^"]+)"')
# What stands before a string of a row or a constant there; a title or a line may name another row.
CELL = re.compile(r"(\.(name|title|line) =|constexpr const char\* k\w+ =)\s*$")
# Words of English: as a whole string they are names, inside a sentence they are not.
ENGLISH = {"list", "cpu"}
# path -> string -> why it may stand there.
EXCEPTIONS = {
}


def table_names(root):
    names = set()
    for table in TABLES:
        for match in ROW.finditer((root / table).read_text()):
            names.add(match.group(1) or match.group(2))
    return names


def without_comments(text):
    """Blanks comments and keeps strings, so that lines keep their numbers."""
    pattern = re.compile(r'R"(\w*)\(.*?\)\1"|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|//[^\n]*|/\*.*?\*/', re.S)

    def keep(match):
        found = match.group(0)
        return re.sub(r"[^\n]", " ", found) if found.startswith("/") else found

    return pattern.sub(keep, text)


STRING = re.compile(r'R"(\w*)\((.*?)\)\1"|"((?:[^"\\\n]|\\.)*)"', re.S)


def violations(root, exceptions=EXCEPTIONS):
    names = table_names(root)
    if not names:
        return ["no names in the tables under " + str(root)]
    inside = [name for name in names if name not in ENGLISH]
    word = re.compile(r"(?<![\w-])(" + "|".join(sorted(map(re.escape, inside), key=len, reverse=True)) +
                      r")(?![\w-])")
    found = []
    used = set()
    files = sorted(p for top in ("src", "include", "benchmarks") if (root / top).is_dir()
                   for p in (root / top).rglob("*") if p.suffix in (".h", ".cpp", ".cu", ".cuh"))
    for file in files:
        path = file.relative_to(root).as_posix()
        text = without_comments(file.read_text())
        for match in STRING.finditer(text):
            start = text.rfind("\n", 0, match.start()) + 1
            if re.match(r"\s*#\s*include", text[start:match.start()]):
                continue
            string = match.group(2) if match.group(2) is not None else match.group(3)
            hit = word.search(string)
            name = string if string in names else hit.group(1) if hit else None
            if name is None:
                continue
            if path in TABLES and CELL.search(text[start:match.start()]):
                continue
            if string in exceptions.get(path, {}):
                used.add((path, string))
                continue
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{path}:{line}: '{name}' of a table as a string: \"{string}\"")
    for path, strings in exceptions.items():
        found += [f"{path}: the exception \"{string}\" stands for nothing any more"
                  for string in strings if (path, string) not in used]
    return found


def self_test():
    tables = {table: "" for table in TABLES}
    tables["src/planner/planners.cpp"] = '{.name = "epp", .line = "ours"}, {.name = "new-one"}\n'
    tables["src/baselines/systems.h"] = 'constexpr const char* kA = "flexsp";\n'
    tables["src/planner/schedules/schedules.cpp"] = '{.name = "list"}\n'

    def check(sources, exceptions={}):
        with tempfile.TemporaryDirectory() as folder:
            for path, text in {**tables, **sources}.items():
                file = pathlib.Path(folder) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            return violations(pathlib.Path(folder), exceptions)

    bad = {
        "a comparison": {"src/a.cpp": 'if (name == "epp") return;'},
        "a new row's name": {"benchmarks/a.cpp": 'run("new-one");'},
        "a list of names": {"src/a.cpp": 'f("epp,flexsp");'},
        "a sentence": {"include/a.h": 'f("expected epp or another");'},
        "a raw string": {"src/a.cpp": 'f(R"(name = epp)");'},
        "after a comment": {"src/a.cpp": '/* "x" */ f("flexsp"); // "y"'},
        "an English word alone": {"src/a.cpp": 'f("list");'},
        "beside the rows of a table": {"src/planner/planners.cpp":
                                       tables["src/planner/planners.cpp"] + 'f("epp");'},
    }
    for what, sources in bad.items():
        if len(check(sources)) != 1:
            sys.exit(f"not found once: {what}: {check(sources)}")
    good = {
        "a comment": {"src/a.cpp": '// "epp" and epp\n/* "flexsp" */ f("x");'},
        "an include": {"src/a.cpp": '#include "planner/epp.h"\n#include "epp"'},
        "a longer word": {"src/a.cpp": 'f("epp_speedup", "step-epp", "flexspace");'},
        "an English word in a sentence": {"src/a.cpp": 'f("a list of names");'},
    }
    for what, sources in good.items():
        if check(sources):
            sys.exit(f"found where nothing is: {what}: {check(sources)}")
    allowed = {"src/a.cpp": {"epp": "a key of somebody else's format"}}
    if check(bad["a comparison"], allowed):
        sys.exit("an exception does not count")
    if len(check({}, allowed)) != 1:
        sys.exit("an exception that stands for nothing is not found")
    print(f"{len(bad) + 1} kinds of violation are found")


if __name__ == "__main__":
    rule_program.run(__doc__, violations, self_test, "every name stands in its table")
