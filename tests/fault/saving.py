"""robustness 5, 9, 10 and 11: every change of files that saving makes is spoiled, one at a time."""
import json
import shutil

from program import leftovers, one_error, require, weights

STEPS, EVERY = 6, 2


def points(harness, folder, *arguments):
    """The changes that a run of the command makes under the folder, in order."""
    log = harness.work / "calls"
    log.unlink(missing_ok=True)
    harness.succeed(*arguments, environment=harness.spoiled(folder, log=log))
    return log.read_text().splitlines()


def chosen(harness, all_points, every):
    """All, or in the short form every so many, with another beginning for each kind of fault."""
    return all_points if harness.full else all_points[::every]


def checkpoints(harness):
    folder = harness.folder("checkpoints")
    command = harness.train(folder, STEPS, EVERY)
    calls = points(harness, folder, *command)
    expected = weights(folder)
    first_saved = next(i for i, call in enumerate(calls) if call.endswith("/latest")) + 1
    done = {"kill": 0, "eio": 0, "enospc": 0, "short": 0}
    for action in done:
        for number in chosen(harness, range(1, len(calls) + 1), 29):
            if action == "short" and not calls[number - 1].startswith(("write", "pwrite")):
                continue
            what = f"{action} at call {number} of {len(calls)}, {calls[number - 1]}"
            harness.progress(what)
            harness.folder("checkpoints")  # there, as in the run whose calls were counted
            result = harness.run(*command,
                                 environment=harness.spoiled(folder, number, action))
            if action == "kill":
                require(result.code == -9, f"{what}: not killed: {result}")
            elif result.code != 0:
                one_error(result)
                require(not leftovers(folder) if folder.exists() else True,
                        f"{what}: left {leftovers(folder)}: {result}")
            else:  # the fault did no harm, or it was mended: nothing may be missing
                require(weights(folder) == expected, f"{what}: said to be done: {result}")
            if number > first_saved:  # the old one or the new one, without falling back
                found = harness.succeed("eval", "--checkpoint", folder)
                require("passed over" not in found.err, f"{what}: {found}")
            harness.succeed(*command, "--resume")
            require(weights(folder) == expected, f"{what}: other weights after resuming")
            require(not leftovers(folder), f"{what}: left {leftovers(folder)} after resuming")
            done[action] += 1
    return (f"{len(calls)} changes of files in three savings; spoiled "
            + ", ".join(f"{count} by {action}" for action, count in done.items())
            + "; all resumed to the uninterrupted run's bytes")


def other_files(harness):
    """Each command that writes a file: the old content or the new, and an error or success."""
    folder = harness.folder("files")
    commands = harness.writers(folder)
    done = 0
    for name, command in commands.items():
        shutil.rmtree(folder)
        folder.mkdir()
        calls = points(harness, folder, *command)
        require(calls, f"{name}: nothing was written")
        for action in ("kill", "eio", "enospc", "short"):
            for number in chosen(harness, range(1, len(calls) + 1), 5):
                if action == "short" and not calls[number - 1].startswith("write"):
                    continue
                what = f"{name}: {action} at call {number}, {calls[number - 1]}"
                harness.progress(what)
                shutil.rmtree(folder)
                folder.mkdir()
                old = f"the old {name}\n"
                if name != "built.idx":
                    (folder / name).write_text(old)
                result = harness.run(*command,
                                     environment=harness.spoiled(folder, number, action))
                if action != "kill" and result.code != 0:
                    one_error(result, folder)
                    require(not leftovers(folder), f"{what}: left {leftovers(folder)}: {result}")
                # What stands is whole: the old content, or what a run without a fault writes.
                standing = {f.name: f.read_bytes() for f in folder.iterdir()
                            if ".tmp." not in f.name and not f.name.endswith(".lock")}
                again = harness.succeed(*command)
                require(not leftovers(folder), f"{what}: left {leftovers(folder)}: {again}")
                fresh = {f.name: f.read_bytes() for f in folder.iterdir()}
                for file, content in standing.items():
                    require(content == old.encode() or same(file, content, fresh[file]),
                            f"{what}: {file} is neither the old nor the new: {result}")
                if result.code == 0:
                    require(set(standing) == set(fresh), f"{what}: said to be done: {result}")
                if "built.idx" in standing:
                    require("built.bin" in standing, f"{what}: an index without its tokens")
                done += 1
    return f"{done} faults over {len(commands)} kinds of file; each stood as the old or the new one"


def same(file, one, other):
    """Equal, but for the seconds that planning took."""
    if file != "plan.json":
        return one == other
    plans = [json.loads(text) for text in (one, other)]
    for plan in plans:
        planner = plan["planner"]
        for timed in (planner, planner["solver"], *planner["passes"]):
            timed.pop("seconds", None)
    return plans[0] == plans[1]
