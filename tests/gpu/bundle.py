#!/usr/bin/env python3
"""Makes the bundle of `make gpu-bundle`, moves it, looks at what it needs, and runs every step of
tools/gpu_check.sh dry: on the processor, as it would run on a machine with a GPU.

usage: bundle.py BUILD WORK SITE     BUILD: a build folder; WORK: a folder that is emptied first;
                                     SITE: the folder of the wheels, with torch
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parents[2]
MOST_BYTES = 25 * 1024 * 1024
MOST_FILES = 8
# What a machine's torch brings: LibTorch and the libraries of NVIDIA beside it.
TORCHS = re.compile(r"lib(torch\w*|c10\w*|gomp|cudart|cupti)\.so")


def run(*command, env=None, cwd=None):
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def must(*command, **more):
    code, text = run(*command, **more)
    if code != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {code}\n{text}")
    return text


def check_needs(bundle):
    """Without torch's folders only its libraries are missing; ours come from the bundle itself."""
    for program in ("infinipipe", "gpu_check"):
        text = must("ldd", bundle / program, env={"PATH": os.environ["PATH"]})
        missing = re.findall(r"(\S+) => not found", text)
        others = [name for name in missing if not TORCHS.match(name)]
        if not missing or others:
            sys.exit(f"{program}: missing {missing}, expected torch's libraries alone\n{text}")
        for library in ("libhighs", "libsentencepiece", "libtomlplusplus"):
            path = re.search(rf"{library}\S* => (\S+)", text)
            if path and pathlib.Path(path.group(1)).resolve().parent != (bundle / "lib").resolve():
                sys.exit(f"{program}: {library} is taken from {path.group(1)}, not from the bundle")


def check_results(out, text, code):
    steps = dict(re.findall(r"^(\w+) +(ok|WRONG|skipped)\b", text, re.M))
    wanted = ["preflight"] + re.search(r'^steps="(.*)"', (SOURCE / "tools/gpu_check.sh").read_text(),
                                       re.M).group(1).split()
    wrong = [name for name in (w.split(":")[0] for w in wanted)
             if steps.get(name) != "ok" and not (name == "reference" and steps.get(name) == "skipped")]
    if code != 0 or wrong:
        sys.exit(f"exit code {code}, not ok: {wrong}\n{text}\n{(out / 'log.txt').read_text()[-6000:]}")
    files = sorted(f.name for f in out.iterdir())
    if len(files) > MOST_FILES:
        sys.exit(f"{len(files)} files came back: {files}")
    lines = [json.loads(line) for line in (out / "bench.json").read_text().splitlines()]
    not_built = [line["name"] for line in lines if line.get("skipped") == "not built"]
    if not_built != ["cudnn.own_graphs", "exclusive"]:
        sys.exit(f"what is not built yet is not said: {not_built}")
    runs = {json.loads(line)["run"] for line in (out / "metrics.jsonl").read_text().splitlines()}
    if runs != {"cap_64", "cap_128", "budget_200000000", "8b-shape_128"}:
        sys.exit(f"runs in metrics.jsonl: {runs}")
    if "train 128: tokens/s" not in (out / "summary.txt").read_text():
        sys.exit("no table in summary.txt")


# Programs that say how they were called, for what the processor cannot show of the script.
TOLD = 'echo "$(basename "$0") $*"'
GPU_CHECK = """case $1 in
  --torch) echo VERSION; exit ;;
  ceilings) echo '{"step": "device", "name": "peak", "value": 1e15, "unit": "FLOP/s"}' >>"$out/bench.json" ;;
  attention) echo '{"step": "attention", "name": "sum", "error": 2, "bound": 1, "ok": false}' >>"$out/bench.json"
             exit 1 ;;
  HANGS) sleep 100 ;;
esac
""" + TOLD
INFINIPIPE = TOLD + """
while [ $# -gt 0 ]; do case $1 in --metrics.path) m=$2 ;; --metrics.run_name) n=$2 ;; --trace-dir) t=$2 ;;
  --out) echo 100 >"$2" ;; esac; shift; done
[ -z "$t" ] || { mkdir -p "$t"; echo {} >"$t/step-000001.json"; }
[ -z "$m" ] || echo '{"run": "'$n'", "tokens_per_second": 3e4, "flops_per_second": 4e14, "mfu": 0.5, "seconds": 1,
  "seconds_predicted": 1, "peak_bytes": [4e10], "peak_bytes_predicted": [4e10]}' | tr -d '\\n' >"$m"
[ -z "$m" ] || echo >>"$m"
"""
NVIDIA_SMI = "echo 'NVIDIA H100 80GB HBM3, 580.1'"
SANITIZER = TOLD + '; [ "$2" = memcheck ]'


def stubs(folder, env, programs):
    folder.mkdir()
    version = must(sys.executable, "-c", "import importlib.metadata as m; print(m.version('torch'))",
                   env=env).strip().split("+")[0]
    for name, body in programs.items():
        (folder / name).write_text("#!/bin/bash\n" + body.replace("VERSION", version) + "\n")
        (folder / name).chmod(0o755)
    for file in ("summary.py", "documents.py"):
        shutil.copy(SOURCE / "tools/gpu_check" / file, folder)
    (folder / "reference.py").write_text("print('reference')\n")
    return folder


def must_say(text, code, wanted, lines):
    for line in lines:
        if code != wanted or not re.search(line, text, re.M):
            sys.exit(f"exit code {code}, or no line {line}\n{text}")


def check_a_bad_day(work, env):
    """A step that is wrong stops no other, one that hangs is ended, and what no longer fits is said."""
    bundle = stubs(work / "bad", env, {"infinipipe": TOLD,
                                       "gpu_check": GPU_CHECK.replace("HANGS", "kernels")})
    code, text = run("bash", SOURCE / "tools/gpu_check.sh", bundle, 22, "--dry", "--only",
                     "attention,ceilings,kernels,meter", env={**env, "OUT": str(work / "bad-out")})
    must_say(text, code, 1, [r"^ceilings +ok", r"^attention +WRONG +\d+ s",
                             r"^kernels +WRONG +out of its \d+ s; \d", r"^meter +skipped +no time left",
                             r"^attention.sum: WRONG: 2 > 1"])
    code, text = run("bash", SOURCE / "tools/gpu_check.sh", bundle, 14, "--only", "nothing", env=env)
    must_say(text, code, 2, ["no step nothing; there are: preflight ceilings"])


def check_a_gpu_machine(work, env):
    """What only a run that is not dry does: the card, the sanitizer, the presets, both references."""
    bundle = stubs(work / "gpu", env,
                   {"infinipipe": INFINIPIPE, "gpu_check": GPU_CHECK, "nvidia-smi": NVIDIA_SMI,
                    "compute-sanitizer": SANITIZER})
    out = work / "gpu-out"
    code, text = run("bash", SOURCE / "tools/gpu_check.sh", bundle, 470,
                     env={**env, "OUT": str(out), "PATH": f"{bundle}:{env['PATH']}"})
    must_say(text, code, 1, [r"^NVIDIA H100 80GB", r"^attention +WRONG", r"^kernels +WRONG",
                             r"^model +ok", r"^train +ok", r"^reference +ok",
                             r"^kernels.racecheck: WRONG: sanitizer.txt",
                             r"^train 32K: MFU, of the data sheet +40.0% .* reached"])
    log = (out / "log.txt").read_text()
    must_say(log, 0, 0, [r"gpu_check device --card NVIDIA H100 .* --device cuda", r"memcheck: ok",
                         r"infinipipe profile --model.preset 1b .*--runtime.device cuda",
                         r"train .*max_sequence_length 131072 ", r"bytes_per_stage 40e9",
                         r"train --model.preset 8b --model.num_hidden_layers 6 .*estimate:h100", r"(reference\s+){2}"])
    if (found := len(list(out.iterdir()))) > MOST_FILES or not (out / "trace.json.gz").exists():
        sys.exit(f"{found} files came back, or no trace")


def main(build, work, site):
    shutil.rmtree(work, ignore_errors=True)
    made, bundle = work / "made", work / "moved"
    must("cmake", "--install", build, "--prefix", made, "--component", "gpu_bundle")
    made.rename(bundle)
    size = sum(f.stat().st_size for f in bundle.rglob("*") if f.is_file())
    if size > MOST_BYTES:
        sys.exit(f"the bundle has {size} bytes, at most {MOST_BYTES}")
    check_needs(bundle)
    env = {"PATH": os.environ["PATH"], "HOME": str(work), "OUT": str(work / "out"),
           "PYTHONPATH": str(site)}
    code, text = run("bash", SOURCE / "tools/gpu_check.sh", bundle, 1200, "--dry", env=env, cwd=work)
    check_results(work / "out", text, code)
    # What a machine lacks is said, and stops the rest.
    code, text = run("bash", SOURCE / "tools/gpu_check.sh", bundle, 60, "--dry",
                     env={**env, "PYTHONPATH": "", "OUT": str(work / "no-torch"), "PYTHON": "false"},
                     cwd=work)
    if code != 1 or "preflight    WRONG" not in text or "has no torch" not in text:
        sys.exit(f"a machine without torch: exit code {code}\n{text}")
    check_a_bad_day(work, env)
    check_a_gpu_machine(work, env)
    print(f"a bundle of {size / 2**20:.1f} MiB; every step ran dry")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*(pathlib.Path(word).resolve() for word in sys.argv[1:]))
