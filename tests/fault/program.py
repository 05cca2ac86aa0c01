"""Runs the program and looks at what it did: exit code, output, seconds, memory, files."""
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

# A model that trains a step in milliseconds; everything of it is on two stages.
MODEL = ["--model.hidden_size", "32", "--model.intermediate_size", "64",
         "--model.num_hidden_layers", "2", "--model.num_attention_heads", "4",
         "--model.num_key_value_heads", "2", "--parallelism.stages", "2",
         "--training.sequences_per_step", "2", "--cluster.profile", "estimate"]


STAGES = ["--parallelism.stages", "4", "--parallelism.sequence_parallel", "8"]


class Fault(Exception):
    """Something that must not happen, happened."""


def require(condition, message):
    if not condition:
        raise Fault(message)


class Result:
    def __init__(self, command, code, out, err, seconds, peak_bytes):
        self.command, self.code, self.out, self.err = command, code, out, err
        self.seconds, self.peak_bytes = seconds, peak_bytes

    def __str__(self):
        return (f"{' '.join(self.command)}\n  exit code {self.code}, {self.seconds:.1f} s, "
                f"{self.peak_bytes / 2**20:.0f} MiB\n{self.out[-2000:]}{self.err[-2000:]}")

    def errors(self):
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


class Harness:
    """A folder to work in, the program, and whether this is the full size."""

    def __init__(self, build, work, full):
        self.source = pathlib.Path(__file__).resolve().parents[2]
        self.binary = str(build / "infinipipe")
        self.shim = str(build / "tests/libfault_shim.so")
        self.profile = self.source / "profiles/llama-7b-a800.json"
        self.work, self.full = work, full
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        self.environment = {"PATH": os.environ["PATH"], "LC_ALL": "C",
                            "XDG_CACHE_HOME": str(work / "cache"), "HOME": str(work)}
        self.shown = 0.0

    def start(self, *arguments, cwd=None, environment=None, **kinds):
        command = [self.binary, *map(str, arguments)]
        return subprocess.Popen(command, cwd=cwd or self.work, text=True,
                                env={**self.environment, **(environment or {})},
                                stdin=subprocess.DEVNULL, **kinds)

    def run(self, *arguments, cwd=None, environment=None, limit=120.0, end_after=None,
            end_with=signal.SIGKILL):
        """Waits for the program; over `limit` seconds is a fault. After `end_after` seconds it is
        sent `end_with`."""
        out, err = self.work / "stdout", self.work / "stderr"
        begin = time.monotonic()
        with open(out, "w") as out_file, open(err, "w") as err_file:
            child = self.start(*arguments, cwd=cwd, environment=environment, stdout=out_file,
                               stderr=err_file)
        signalled = False
        while True:
            done, status, usage = os.wait4(child.pid, os.WNOHANG)
            if done:
                break
            spent = time.monotonic() - begin
            if spent > limit:
                child.kill()
                os.wait4(child.pid, 0)
                raise Fault(f"still running after {limit} s: {' '.join(map(str, child.args))}")
            if end_after is not None and spent >= end_after and not signalled:
                signalled = True
                child.send_signal(end_with)
            time.sleep(0.002)
        child.returncode = os.waitstatus_to_exitcode(status)
        return Result(child.args, child.returncode, out.read_text(errors="replace"),
                      err.read_text(errors="replace"), time.monotonic() - begin,
                      usage.ru_maxrss * 1024)

    def succeed(self, *arguments, **kinds):
        result = self.run(*arguments, **kinds)
        require(result.code == 0, f"failed: {result}")
        return result

    def spoiled(self, folder, at=0, action="kill", forever=False, log=None):
        """The environment in which the at-th change of files under `folder` is spoiled."""
        return {"LD_PRELOAD": self.shim, "INFINIPIPE_FAULT_UNDER": str(folder),
                "INFINIPIPE_FAULT_AT": str(at), "INFINIPIPE_FAULT_DO": action,
                "INFINIPIPE_FAULT_FOREVER": "1" if forever else "",
                "INFINIPIPE_FAULT_LOG": str(log) if log else ""}

    def progress(self, text):
        """A line on stderr, at most one in ten seconds."""
        if time.monotonic() - self.shown >= 10.0:
            self.shown = time.monotonic()
            print(f"   ... {text}", file=sys.stderr, flush=True)

    def folder(self, name):
        """An empty one."""
        path = self.work / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def documents(self):
        """The prefix of a data set of twelve uneven documents, built once."""
        prefix = self.work / "data/documents"
        if not prefix.with_suffix(".idx").exists():
            texts = self.folder("texts")
            words = random.Random(1)
            for i in range(1, 13):
                letters = "".join(words.choice("abcde \n") for _ in range(15 * i * i + 5))
                (texts / f"{i:02}.txt").write_text(letters)
            self.succeed("data", "build", "--input", texts, "--out", prefix, "-q")
        return prefix

    def planning(self):
        """The arguments of a command that plans a small batch for four stages."""
        lengths = self.work / "lengths.txt"
        lengths.write_text("5000\n300\n800\n20\n")
        return ["plan", "--lengths", lengths, "--cluster.profile", self.profile, *STAGES]

    def plan(self):
        """A plan's file, made by that command, once."""
        plan = self.work / "plan.json"
        if not plan.exists():
            self.succeed(*self.planning(), "--out", plan)
        return plan

    def writers(self, folder):
        """Every command that writes a file, into the folder: the file's name -> arguments."""
        self.documents()
        simulating = ["simulate", self.plan(), "--profile", self.profile]
        return {
            "plan.json": [*self.planning(), "--out", folder / "plan.json"],
            "trace.json": [*simulating, "--trace", folder / "trace.json"],
            "page.html": [*simulating, "--html", folder / "page.html"],
            "result.json": [*simulating, "--json", folder / "result.json"],
            "drawn.txt": ["data", "lengths", "--model", "github", "--count", "8", "--cap", "4096",
                          "--out", folder / "drawn.txt"],
            "built.idx": ["data", "build", "--input", self.work / "texts", "--out",
                          folder / "built", "-q"],
        }

    def train(self, checkpoints, steps, every, *more):
        """A training command's arguments."""
        return ["train", *MODEL, "--data.path", self.documents(), "--training.steps", steps,
                "--checkpoint.path", checkpoints, "--checkpoint.every", every,
                "--checkpoint.keep", 2, "-q", *more]


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def weights(checkpoints):
    """The hashes of the newest checkpoint's tensors: equal only for equal bits."""
    latest = pathlib.Path(checkpoints) / (pathlib.Path(checkpoints) / "latest").read_text().strip()
    return [digest(latest / name) for name in ("model.safetensors", "optimizer.safetensors")]


def tensors(checkpoints):
    """Name -> hash of every tensor of the newest checkpoint, into however many files it is cut."""
    latest = pathlib.Path(checkpoints) / (pathlib.Path(checkpoints) / "latest").read_text().strip()
    found = {}
    for file in sorted(latest.glob("*.safetensors")):
        data = file.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8:8 + size])
        header.pop("__metadata__", None)
        for name, entry in header.items():
            key = file.name.partition("-0")[0].partition(".")[0] + ": " + name
            require(key not in found, f"{latest}: {key} is there twice")
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            found[key] = f'{entry["dtype"]} {entry["shape"]} ' + hashlib.sha256(data[begin:end]).hexdigest()
    return found


def leftovers(folder):
    """Temporary files and folders under it."""
    return sorted(str(path.relative_to(folder)) for path in pathlib.Path(folder).rglob("*")
                  if ".tmp." in path.name or path.name.startswith("tmp-"))


def one_error(result, *parts):
    """The command failed with one line that has all of `parts`."""
    require(result.code in (1, 2), f"expected exit code 1 or 2: {result}")
    require(len(result.errors()) == 1, f"expected one line of error: {result}")
    for part in parts:
        require(str(part) in result.errors()[0], f"expected '{part}' in the error: {result}")


