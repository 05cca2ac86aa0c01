#!/usr/bin/env python3
"""Faults put into whole runs of the program, and what must hold (docs/reliability.md).

usage: run.py BUILD WORK [PART ...]   BUILD: a build folder; WORK: a folder that is emptied first;
                                      without a PART all of them, with one line each

INFINIPIPE_SOAK=1 runs every point (an hour on two cores), else a sample of them.
"""
import os
import pathlib
import sys
import time

import damage
import full_disk
import hostile
import hosts
import kills
import ranks
import saving
from program import Fault, Harness

PARTS = {
    "saving": saving.checkpoints,
    "files": saving.other_files,
    "kills": kills.random_kills,
    "stops": kills.random_stops,
    "ranks": ranks.random_faults,
    "hosts": hosts.link_down,
    "disks": full_disk.commands,
    "logs": full_disk.training,
    "damage": damage.files,
    "non_finite": damage.non_finite,
    "hostile": hostile.inputs,
}


def main(build, work, names):
    if unknown := [name for name in names if name not in PARTS]:
        sys.exit(f"{', '.join(unknown)}: no such part; expected {', '.join(PARTS)}")
    full = "INFINIPIPE_SOAK" in os.environ
    failed = []
    for name in names or PARTS:
        begin = time.monotonic()
        try:
            said = PARTS[name](Harness(build, work / name, full))
        except Fault as fault:
            failed.append(name)
            said = f"FAILED: {fault}"
        print(f"{name}: {said} ({time.monotonic() - begin:.0f} s)", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3:])
