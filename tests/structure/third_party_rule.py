#!/usr/bin/env python3
"""Third-party software is named alike everywhere: each wheel that tools/wheels/ pins has its
hashes, and a row with the same version in THIRD_PARTY.md; each library's package that
tools/setup.sh installs has a row; and no row is about anything else.

usage: third_party_rule.py ROOT       checks a source tree
       third_party_rule.py --self-test  shows that each kind of violation is found
"""
import pathlib
import re
import sys
import tempfile

import rule_program

sys.dont_write_bytecode = True  # nothing beside the sources
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import third_party  # noqa: E402

# Pin files -> whether every wheel has a row. What a tool needs besides itself has none.
USES = {"planning": True, "torch": True, "tokenizers": True, "parquet": True, "cuda": True,
        "gate": True, "sbom": False}


def violations(root):
    found = []
    pins = {}
    for use in USES:
        try:
            for pin in third_party.pins_of(third_party.pin_file(root, use)):
                if pin.name in pins:
                    found.append(f"{pin.name} is pinned twice")
                pins[pin.name] = (use, pin.version)
        except (OSError, ValueError) as error:
            found.append(str(error))
    try:
        rows = third_party.rows_of(root)
    except (OSError, ValueError) as error:
        return found + [str(error)]
    listed = {"PyPI": set(), "Debian": set()}
    for row in rows:
        for package in row.packages:
            if package in listed[row.source]:
                found.append(f"THIRD_PARTY.md: {package} has two rows")
            listed[row.source].add(package)
            if row.source == "PyPI" and package not in pins:
                found.append(f"THIRD_PARTY.md: {package} is not pinned in tools/wheels/")
            elif row.source == "PyPI" and pins[package][1] != row.version:
                found.append(f"THIRD_PARTY.md: {package} is {row.version}, and {pins[package][1]} "
                             "where it is pinned")
    for use, every in USES.items():
        names = {name for name, (where, _) in pins.items() if where == use}
        if missing := sorted(names - listed["PyPI"]):
            if every or not names & listed["PyPI"]:
                found.append(f"THIRD_PARTY.md: no row for {missing[0]} of tools/wheels/{use}.txt")
    installed = set(re.findall(r"[\w.+-]+-dev\b", (root / "tools/setup.sh").read_text()))
    libraries = {package for package in listed["Debian"] if package.endswith("-dev")}
    for package in sorted(installed ^ libraries):
        found.append(f"{package}: in one of tools/setup.sh and THIRD_PARTY.md alone")
    return found


def self_test():
    a, b = "a" * 64, "b" * 64
    clean = {
        "tools/wheels/planning.txt": f"# A comment\nsolver==1.2 \\\n    --hash=sha256:{a} \\\n"
                                     f"    --hash=sha256:{b}\n",
        "tools/wheels/torch.txt": f"big==3.0.1 --hash=sha256:{a}\n",
        "tools/wheels/cuda.txt": f"fast==0.1 --hash=sha256:{a}\n",
        "tools/wheels/tokenizers.txt": f"text==4.1 --hash=sha256:{a}\n",
        "tools/wheels/parquet.txt": f"rows==5.1 --hash=sha256:{a}\n",
        "tools/wheels/gate.txt": f"reader==7 --hash=sha256:{a}\n",
        "tools/wheels/sbom.txt": f"writer==9 --hash=sha256:{a}\n\n# What it needs\n"
                                 f"helper==2 --hash=sha256:{b}\n",
        "tools/setup.sh": "packages=(git libjson-dev)\n",
        "THIRD_PARTY.md": "# Third\n| software | licence | how |\n|-|-|-|\n"
                          "| Solver 1.2 | MIT (inside: BSD-3-Clause) | PyPI `solver` |\n"
                          "| Big (Lib) 3.0.1 | BSD-3-Clause, with notices | PyPI `big` |\n"
                          "| Fast 0.1 (CUDA build only) | An EULA | PyPI `fast` |\n"
                          "| Text 4.1 | Apache-2.0 | PyPI `text` |\n"
                          "| Rows 5.1 | MIT | PyPI `rows` |\n"
                          "| Reader 7 (tool only) | An EULA | PyPI `reader` |\n"
                          "| Writer 9 (tool only) | Apache-2.0 | PyPI `writer` |\n"
                          "| JSON 3.11 | MIT | Debian `libjson-dev` |\n"
                          "| C library 2.36 | LGPL-2.1-or-later | Debian `libc6` |\n",
    }
    table = "THIRD_PARTY.md"

    def check(path, old, new):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in clean.items():
                file = pathlib.Path(folder) / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text.replace(old, new, 1) if name == path else text)
            return violations(pathlib.Path(folder))

    cases = [
        ("tools/wheels/planning.txt", "1.2", "1.3"),
        ("tools/wheels/torch.txt", f" --hash=sha256:{a}", ""),
        ("tools/wheels/torch.txt", a, a[:-1]),
        ("tools/wheels/torch.txt", "sha256", "md5"),
        ("tools/wheels/cuda.txt", "==", ">="),
        ("tools/wheels/cuda.txt", "fast", "unknown"),
        ("tools/wheels/cuda.txt", "\n", f"\nbig==3.0.1 --hash=sha256:{a}\n"),
        ("tools/wheels/sbom.txt", "writer==9", "other==9"),
        ("tools/setup.sh", "git", "git libmore-dev"),
        ("tools/setup.sh", "libjson-dev", ""),
        (table, "| Big (Lib) 3.0.1 | BSD-3-Clause, with notices | PyPI `big` |\n", ""),
        (table, "Fast 0.1", "Fast 0.2"),
        (table, "Fast 0.1", "Fast"),
        (table, "An EULA", ""),
        (table, "PyPI `solver`", "somewhere"),
        (table, "| JSON", "| Gone 1 | MIT | PyPI `gone` |\n| JSON"),
        (table, "| JSON", "| Other 2 | MIT | Debian `libc6` |\n| JSON"),
    ]
    if found := check("", "", ""):
        sys.exit(f"found without a reason: {found}")
    for case in cases:
        if not check(*case):
            sys.exit(f"not found: {case}")
    print(f"{len(cases)} violations are found, and none in a clean tree")


if __name__ == "__main__":
    rule_program.run(__doc__, violations, self_test, "third-party software is named alike everywhere")
