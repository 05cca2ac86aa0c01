"""robustness 1, 5, 7 and 8: runs that are killed or stopped at random and go on by themselves."""
import json
import random
import signal

from program import leftovers, require, weights

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def restarts(harness, wanted, steps, every, signals, seed):
    """Trains until `wanted` signals have struck, each run to its end. Returns (signals, runs, lines
    of metrics of all runs)."""
    draw = random.Random(seed)
    folder = harness.folder("reference")
    metrics = harness.work / "metrics.jsonl"
    metrics.unlink(missing_ok=True)
    whole = harness.train(folder, steps, every, "--metrics.path", metrics)
    alone = harness.succeed(*whole)
    expected, losses = weights(folder), [line["loss"] for line in lines(metrics)]
    struck, runs, all_lines = 0, 0, []
    while struck < wanted:
        folder = harness.folder("checkpoints")
        metrics.unlink(missing_ok=True)
        command = harness.train(folder, steps, every, "--metrics.path", metrics, "--resume",
                                "--stopped-exit-code", 7)
        runs += 1
        while True:
            harness.progress(f"{struck} of {wanted} signals, run {runs}")
            which = draw.choice(signals)
            result = harness.run(*command, end_after=draw.uniform(0.1, 0.7) * alone.seconds,
                                 end_with=which)
            if result.code == 0:
                break
            # Before its handlers are there a signal ends the program, as it ends any.
            require(result.code in (-which, 7 if which != signal.SIGKILL else -which),
                    f"ended by itself: {result}")
            struck += 1
        require(weights(folder) == expected, f"run {runs}: other weights than the uninterrupted run")
        require(not leftovers(folder), f"run {runs}: left {leftovers(folder)}")
        found = lines(metrics)
        require([line["step"] for line in found] == list(range(steps)),
                f"run {runs}: metrics have the steps {[line['step'] for line in found]}")
        require([line["loss"] for line in found] == losses, f"run {runs}: other losses")
        all_lines.append(found)
    return struck, runs, all_lines


def random_kills(harness):
    wanted = 120 if harness.full else 4
    struck, runs, found = restarts(harness, wanted, steps=100 if harness.full else 60, every=10,
                                   signals=[signal.SIGKILL], seed=20261127)
    ends = [run[-1] for run in found]
    repeated = sum(end["steps_repeated"] for end in ends)
    goodput = sum(end["goodput"] for end in ends) / len(ends)
    return (f"{struck} SIGKILLs at random moments over {runs} runs, each to the uninterrupted run's "
            f"bytes and losses; {repeated} steps repeated, goodput {goodput:.3f}")


def random_stops(harness):
    wanted = 60 if harness.full else 4
    struck, runs, found = restarts(harness, wanted, steps=100 if harness.full else 60, every=1000,
                                   signals=STOPS, seed=11)
    repeated = sum(run[-1]["steps_repeated"] for run in found)
    require(repeated == 0, f"{repeated} steps were trained twice")
    return (f"{struck} of SIGTERM, SIGINT, SIGHUP and SIGUSR1 over {runs} runs without other "
            "checkpoints: no step lost, the uninterrupted run's bytes")
