"""What the programs of rules have in common: how they are called, and what they print."""
import pathlib
import sys


def run(usage, violations, self_test, clean):
    """`violations` takes a source tree and returns lines; `clean` is printed where there are none."""
    if sys.argv[1:] == ["--self-test"]:
        self_test()
    elif len(sys.argv) == 2:
        problems = violations(pathlib.Path(sys.argv[1]))
        print("\n".join(problems) or clean)
        sys.exit(1 if problems else 0)
    else:
        sys.exit(usage)
