"""robustness 5, 6 and 8 over several processes: a rank is killed, stopped, fails or goes at a drawn
place; the others name it and end in seconds, and a restart gives the uninterrupted run's bytes."""
import json
import os
import pathlib
import random
import re
import subprocess
import threading
import time

from program import Fault, leftovers, require, tensors

LIMIT = 6.0  # runtime.lost_after_seconds
GRACE = 3.0  # that the launcher leaves a rank which cannot end
# How much later than the limit the restart may begin: two beats in which a verdict is awaited, five in
# which rank 0 keeps the store (a beat is a fifteenth of the limit), the grace, and a busy machine.
SLACK = 8.0  # held against the clock by `make soak` alone
LAYOUTS = {"4 stages": ["--parallelism.stages", 4],
           "2 replicas of 2 stages": ["--parallelism.stages", 2, "--parallelism.data_parallel", 2],
           "2 stages of 2 shards": ["--parallelism.stages", 2, "--parallelism.sequence_parallel", 2]}
KINDS = ("kill", "stop", "exception", "exit")
PLACES = ("start", "hello", "F", "B", "optimizer", "save", "idle")  # how a place begins
STEPS, EVERY = 12, 3
# Drawn before, and mended: a rank that gives its moments to others must do so though its own part of the
# saving fails, and who is ended while it connects blames nobody.
KNOWN = [("2 replicas of 2 stages", 3, "exception", "save", 1), ("4 stages", 2, "kill", "start", 1)]


def command(harness, layout, folder, *more):
    return harness.train(folder, STEPS, EVERY, "--model.num_hidden_layers", 4, *LAYOUTS[layout],
                         "--runtime.lost_after_seconds", LIMIT, "--metrics.path",
                         harness.work / "metrics.jsonl", *more)


def processes(folder):
    """Those of this machine that know the folder."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            pass  # it has just gone
    return found


def launch(harness, arguments, fault, limit=120.0):
    """Runs it with the fault. Returns (exit code, [(seconds, line)]) of both outputs."""
    child = harness.start("launch", "-n", 4, "--max-restarts", 1, "--grace", GRACE, "--", *arguments,
                          environment={"INFINIPIPE_FAULT": fault}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    overtime = threading.Timer(limit, child.kill)
    overtime.start()
    begin = time.monotonic()
    said = [(time.monotonic() - begin, line.rstrip("\n")) for line in child.stdout]
    code = child.wait()
    overtime.cancel()
    return code, said


def first(said, pattern):
    """Seconds of the first line that has the pattern, or None."""
    return next((seconds for seconds, line in said if re.search(pattern, line)), None)


def blamed(said, rank, kind):
    """The ranks that lines of error name; the fault's own words stand for rank 0, which says them
    itself."""
    named = set()
    for _, line in said:
        # A rank that goes before anybody has talked to it is named by the launcher alone.
        named |= {int(number) for number in re.findall(r"launch: rank (\d+) (?:was killed by|ended with)", line)}
        if "error: " not in line:
            continue
        named |= {int(number) for number in re.findall(r"error: (?:step \d+: )?(?:lost )?rank (\d+)", line)}
        if kind == "exception" and "asked for" in line and not line.startswith("[rank"):
            named.add(rank)
    return named


def last_metrics(harness):
    return json.loads((harness.work / "metrics.jsonl").read_text().splitlines()[-1])


def drawn(draw):
    """A layout, and a rank of it with what befalls it where and in which step."""
    return (draw.choice(list(LAYOUTS)), draw.randrange(4), draw.choice(KINDS), draw.choice(PLACES),
            draw.randrange(1, STEPS - 1))


def one(harness, layout, rank, kind, at, step, expected):
    """One fault. Returns (seconds to the restart, seconds of the restart, metrics' last line), or None where
    the rank does not come to the place."""
    fault = f"rank={rank},at={at},kind={kind}"
    if at in ("F", "B", "optimizer"):
        fault += f",step={step}"
    folder = harness.folder("checkpoints")
    (harness.work / "metrics.jsonl").unlink(missing_ok=True)
    code, said = launch(harness, command(harness, layout, folder), fault)
    text = f"{layout}, {fault}\n" + "\n".join(f"  {seconds:.2f} {line}" for seconds, line in said)
    struck, again = first(said, "fault: rank"), first(said, "launch: restart 1 of 1")
    if struck is None:  # a rank without sequences in these steps, or a schedule of I and W
        require(code == 0 and tensors(folder) == expected[layout], f"without a fault: {text}")
        return None
    if kind == "exception" and at == "save":  # an answer to the driver, not a death
        warned = first(said, "warning: .*could not be saved.*a fault that was asked for")
        require(warned is not None and code == 0, f"exit code {code}, no warning: {text}")
        require(rank == 0 or any(f"rank {rank} " in line for _, line in said if "warning: " in line),
                f"not rank {rank} is named: {text}")
        require(tensors(folder) == expected[layout], f"other weights: {text}")
        return warned - struck, 0.0, last_metrics(harness)
    require(again is not None, f"no restart: {text}")
    require(code == 0, f"exit code {code}: {text}")
    require(blamed(said, rank, kind) == {rank}, f"not rank {rank} is named: {text}")
    require(not harness.full or again - struck < LIMIT + SLACK, f"{again - struck:.1f} s until the end: {text}")
    require(tensors(folder) == expected[layout], f"other weights: {text}")
    require(not leftovers(folder), f"left {leftovers(folder)}: {text}")
    require(not processes(folder), f"processes {processes(folder)} are left: {text}")
    return again - struck, said[-1][0] - again, last_metrics(harness)


def random_faults(harness):
    draw = random.Random(int(os.environ.get("INFINIPIPE_FAULT_SEED", "16")))
    expected = {}
    for layout in LAYOUTS:
        folder = harness.folder("reference")
        harness.succeed(*command(harness, layout, folder))
        expected[layout] = tensors(folder)
        (harness.work / "metrics.jsonl").unlink()
    wanted = 300 if harness.full else 12
    results = []
    tried = 0
    while len(results) < wanted:
        harness.progress(f"{len(results)} of {wanted} faults")
        tried += 1
        require(tried <= 2 * wanted, f"only {len(results)} of {tried} faults strike")
        try:
            fault = KNOWN[tried - 1] if tried <= len(KNOWN) else drawn(draw)
            result = one(harness, *fault, expected)
        except Fault as problem:
            raise Fault(f"fault {tried}: {problem}") from None
        if result is not None:
            results.append(result)
    noticed = sorted(result[0] for result in results)
    repeated = sum(result[2]["steps_repeated"] for result in results)
    goodput = sum(result[2]["goodput"] for result in results) / wanted
    return (f"{wanted} faults of 4 ranks, each named and the uninterrupted run's bytes in the end; from "
            f"fault to restart {noticed[len(noticed) // 2]:.1f} s in the median, {noticed[-1]:.1f} s at "
            f"most; {repeated} steps repeated, goodput {goodput:.3f}")
