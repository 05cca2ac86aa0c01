#!/usr/bin/env python3
"""Documents of given lengths for `infinipipe data build`, cut from the text that every machine with
Python has: the sources of its library.

usage: documents.py LENGTHS OUT.jsonl     LENGTHS: a whole number a line, in bytes
"""
import json
import pathlib
import sys
import sysconfig


def text():
    """ASCII alone, so that a byte is a character. Begins anew where it ends."""
    library = pathlib.Path(sysconfig.get_paths()["stdlib"])
    files = sorted(library.rglob("*.py"))
    if not files:
        sys.exit(f"{library}: no sources")
    while True:
        for file in files:
            yield file.read_bytes().decode("ascii", "replace").replace("�", "?")


def documents(lengths):
    source = text()
    held = ""
    for length in lengths:
        parts = [held]
        size = len(held)
        while size < length:
            parts.append(next(source))
            size += len(parts[-1])
        whole = "".join(parts)
        held = whole[length:]
        yield whole[:length]


def main(lengths, out):
    numbers = [int(line) for line in pathlib.Path(lengths).read_text().split()]
    with open(out, "w", encoding="ascii") as file:
        for document in documents(numbers):
            file.write(json.dumps({"text": document}) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
