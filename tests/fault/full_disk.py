"""robustness 10: disks without room, for each kind of output. On real small disks where this may
mount them (as root), else with writes that fail as a full disk's do."""
import contextlib
import shutil
import subprocess

from program import leftovers, one_error, require, weights


@contextlib.contextmanager
def small_disk(harness, room):
    """A folder, and the environment in which it has room for `room` bytes at most."""
    folder = harness.folder("disk")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "none", folder],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if mounted.returncode != 0:
        # From the first write on; what makes names still works, as on a full disk.
        yield folder, harness.spoiled(folder, 1, "enospc", forever=True, log=None), False
        return
    try:
        yield folder, {}, True
    finally:
        subprocess.run(["umount", folder], check=True)


FILLER = "filler"


def fill(folder, but=0):
    """Takes all the room of the disk, but so many bytes."""
    (folder / FILLER).write_bytes(b"x" * (shutil.disk_usage(folder).free - but))


def commands(harness):
    real = False
    kinds = list(harness.writers(harness.work))
    for name in kinds:
        with small_disk(harness, 4096) as (disk, environment, real):
            if real:
                fill(disk)
            result = harness.run(*harness.writers(disk)[name], environment=environment)
            one_error(result, disk)
            left = [f.name for f in disk.iterdir() if f.stat().st_size > 0 and f.name != FILLER]
            require(not left, f"{name}: left {left}: {result}")
    return f"{len(kinds)} kinds of file, each refused in one line with nothing left" + which(real)


def which(real):
    return " (tmpfs)" if real else " (writes that fail; no right to mount)"


def training(harness):
    """Logs and traces cost a warning each; a checkpoint that does not fit ends the run, the one
    before it stays."""
    reference = harness.folder("reference")
    harness.succeed(*harness.train(reference, 6, 2))
    expected = weights(reference)
    real = False
    for key, more in {"metrics": ["--metrics.path", "metrics.jsonl"],
                      "traces": ["--trace-dir", "traces"],
                      "plans": ["--plan-dir", "plans"]}.items():
        with small_disk(harness, 4096) as (disk, environment, real):
            checkpoints = harness.folder("checkpoints")
            flag, name = more
            if real:
                fill(disk)
            result = harness.run(*harness.train(checkpoints, 6, 2, flag, disk / name),
                                 environment=environment)
            if result.code != 0 and key != "metrics":  # a folder that cannot be made: said first
                one_error(result, disk)
                continue
            require(result.code == 0, f"{key}: the run ended: {result}")
            require("warning: " in result.err, f"{key}: no warning: {result}")
            require(weights(checkpoints) == expected, f"{key}: other weights: {result}")
    if not real:
        return "logs, traces and plans cost a warning each" + which(real)
    size = sum(f.stat().st_size for f in (reference / "step-000006").iterdir())
    # Room for two kept ones and the third that is written.
    with small_disk(harness, 3 * size + size // 2) as (disk, _, _):
        checkpoints = disk / "checkpoints"
        harness.succeed(*harness.train(checkpoints, 2, 2, "--optimizer.decay_steps", 6))
        # No room at the start; room for the first of two, so that the disk fills later.
        for but in (size // 2, size + size // 2):
            fill(disk, but)
            result = harness.run(*harness.train(checkpoints, 6, 2, "--resume"))
            one_error(result, checkpoints)
            require(not leftovers(checkpoints), f"left {leftovers(checkpoints)}: {result}")
            found = harness.succeed("eval", "--checkpoint", checkpoints)
            require("passed over" not in found.err, f"not the newest: {found}")
            (disk / FILLER).unlink()
        harness.succeed(*harness.train(checkpoints, 6, 2, "--resume"))
        require(weights(checkpoints) == expected, "other weights once there is room")
    return ("logs, traces and plans cost a warning each; a checkpoint without room leaves the one "
            "before it, and the run goes on once there is room") + which(real)
