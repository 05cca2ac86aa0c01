#!/usr/bin/env python3
"""Prints wheels as the requirement files of this folder name them: each with the sha256 of every
file that pip would choose on Linux, x86_64 and aarch64, with any Python that set-up may meet. The
hashes are those that pip's package index states.

usage: pin.py NAME==VERSION ...
"""
import json
import subprocess
import sys

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = ("x86_64", "aarch64")


def chosen(wheel, machine, python):
    """What pip would install there, as its report says; None where the index has no such file."""
    platforms = [f"--platform=manylinux{version}_{machine}"
                 for version in ("2014", *(f"_2_{minor}" for minor in range(36, 16, -1)))]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps",
         "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--report=-",
         "--target=.", "--implementation=cp", f"--python-version={python}", *platforms, wheel],
        text=True, capture_output=True)
    if done.returncode != 0:
        if "No matching distribution" in done.stderr:
            return None
        sys.exit(f"error: pin: {wheel}: {done.stderr.strip().splitlines()[-1]}")
    (item,) = json.loads(done.stdout)["install"]
    return item["download_info"]["archive_info"]["hashes"]["sha256"]


def pin(wheel):
    hashes = [chosen(wheel, machine, python) for machine in MACHINES for python in PYTHONS]
    if not any(hashes):
        sys.exit(f"error: pin: the package index has no wheel {wheel} for Linux and Python "
                 f"{PYTHONS[0]} to {PYTHONS[-1]}")
    return " \\\n".join([wheel] + [f"    --hash=sha256:{h}" for h in dict.fromkeys(hashes) if h])


if __name__ == "__main__":
    if len(sys.argv) < 2 or not all("==" in wheel for wheel in sys.argv[1:]):
        sys.exit(__doc__)
    for wheel in sys.argv[1:]:
        print(pin(wheel), flush=True)
