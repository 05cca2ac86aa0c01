"""robustness 14 to 16 and 19: damaged and hostile files of every kind, given to whole commands. Each
ends in bounded time and memory, with a result or with one line of error."""
import json
import random

from program import STAGES, require

SECONDS = 60.0
BYTES = 1 << 30  # LibTorch's own libraries take a third of it

NUMBERS = [b"-1", b"0", b"1e308", b"-1e308", b"1e400", b"NaN", b"nan", b"Infinity", b"2147483648",
           b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809", b"0.1",
           b"1" * 400, b"null", b"true", b'""', b'"x"', b"[]", b"{}"]


def mutations(original, count, seed):
    """Damaged copies: cut, flipped, with bytes put in, doubled or left out, and other numbers."""
    draw = random.Random(seed)
    numbers = [place for place, byte in enumerate(original) if chr(byte).isdigit()]
    for i in range(count):
        data = bytearray(original)
        place = draw.randrange(len(data))
        kind = i % 7
        if kind == 0:
            del data[place:]
        elif kind == 1:
            data[place] ^= 1 << draw.randrange(8)
        elif kind == 2:
            data[place:place] = draw.randbytes(draw.randrange(1, 9))
        elif kind == 3:
            end = min(len(data), place + draw.randrange(1, 400))
            data[place:place] = data[place:end] * draw.randrange(1, 4)
        elif kind == 4:
            del data[place:place + draw.randrange(1, 60)]
        elif numbers:
            begin = end = draw.choice(numbers)
            while begin > 0 and chr(data[begin - 1]) in "0123456789.-+e":
                begin -= 1
            while end < len(data) and chr(data[end]) in "0123456789.-+e":
                end += 1
            data[begin:end] = draw.choice(NUMBERS)
        yield bytes(data)


def built(kind):
    """Files that are hostile as a whole, for a kind of format."""
    deep = 100_000
    if kind == "json":
        yield b"[" * deep
        yield b'{"a":' * deep
        yield b'{"format": "infinipipe.plan", "version": 1' + b', "version": 1' * 10_000 + b"}"
        yield b'"' + b"x" * 5_000_000 + b'"'
        yield b"\0" * 1000
        yield b"\xff\xfe{\0}\0"
    elif kind == "toml":
        yield b"a" + b".a" * 5000 + b" = 1\n"
        yield b"a = " + b"[" * 5000 + b"]" * 5000 + b"\n"
        yield b"[training]\nsteps = 1\nsteps = 2\n"
        yield b"[[training]]\n" * 5000
        yield b'[data]\npath = "' + b"x" * 2_000_000 + b'"\n'
        yield b"[training]\nsteps = 1979-05-27T07:32:00Z\n"
    elif kind == "lengths":
        yield b"123\n" * 200_000
        yield b"9" * 1_000_000
        yield b"5\n" * 3 + b"99999999999999999999\n"
        yield b"-5\n"
        yield b"5 6\n"
        yield b"\n" * 1_000_000
    elif kind == "text":
        yield b'{"text": "\\ud800"}\n' * 1000
        yield b'{"text": ' + b"[" * deep + b"\n"
        yield b'{"text": "a", "text": "b"}\n'
        yield b"{" * 1_000_000
    for zero in (b"", b"\n", b"\xef\xbb\xbf"):
        yield zero


def tried(harness, name, path, contents, command):
    """Runs the command on each content of the file. Returns (runs, refused, slowest, largest)."""
    runs = refused = 0
    slowest = largest = 0.0
    for number, content in enumerate(contents):
        harness.progress(f"{name} {number}")
        path.write_bytes(content)
        result = harness.run(*command, limit=SECONDS)
        if result.code not in (0, 1, 2) or result.peak_bytes > BYTES:
            keep = harness.work / f"{name.replace(' ', '_')}_{number}"
            keep.write_bytes(content)
            require(False, f"{name} {number}, kept as {keep}: {result}")
        if result.code != 0:
            require(len(result.errors()) == 1 and len(result.errors()[0]) < 1500,
                    f"{name} {number}: expected one line of error: {result}")
            refused += 1
        runs += 1
        slowest, largest = max(slowest, result.seconds), max(largest, result.peak_bytes)
    return runs, refused, slowest, largest


def inputs(harness):
    count = 350 if harness.full else 6
    given = harness.folder("given")
    profile, planning, plan = harness.profile, harness.planning(), harness.plan()
    lengths = harness.work / "lengths.txt"
    trace = given / "good_trace.json"
    harness.succeed("simulate", plan, "--profile", profile, "--trace", trace)
    config = (harness.source / "configs/own.toml").read_bytes()
    documents = harness.documents()
    index, tokens = (documents.with_suffix(s).read_bytes() for s in (".idx", ".bin"))
    (given / "set.bin").write_bytes(tokens)
    jsonl = b"".join(json.dumps({"id": i, "text": "some words " * i}).encode() + b"\n"
                     for i in range(30))
    trained = harness.folder("trained")
    harness.succeed(*harness.train(trained, 2, 2))
    manifest = trained / "step-000002/manifest.json"
    metrics = given / "metrics.jsonl"
    harness.succeed(*harness.train(harness.folder("other"), 4, 2, "--metrics.path", metrics))
    resumed = harness.folder("resumed")
    harness.succeed(*harness.train(resumed, 2, 2))
    parts = {
        "lengths": (given / "lengths.txt", lengths.read_bytes(), "lengths",
                    ["plan", "--lengths", given / "lengths.txt", "--cluster.profile", profile,
                     *STAGES]),
        "profile": (given / "profile.json", profile.read_bytes(), "json",
                    ["plan", "--lengths", lengths, "--cluster.profile", given / "profile.json",
                     *STAGES]),
        "plan": (given / "plan.json", plan.read_bytes(), "json",
                 ["validate", given / "plan.json", "--profile", profile]),
        "plan simulated": (given / "plan.json", plan.read_bytes(), "json",
                           ["simulate", given / "plan.json", "--profile", profile]),
        "trace": (given / "trace.json", trace.read_bytes(), "json",
                  ["simulate", plan, "--profile", profile, "--measured", given / "trace.json"]),
        "config": (given / "config.toml", config, "toml",
                   [*planning, "--config", given / "config.toml"]),
        "index": (given / "set.idx", index, "binary", ["data", "stats", given / "set"]),
        "index trained on": (given / "set.idx", index, "binary",
                             harness.train("", 1, 1, "--data.path", given / "set")),
        "texts": (given / "texts.jsonl", jsonl, "text",
                  ["data", "build", "--input", given / "texts.jsonl", "--out", given / "built"]),
        "texts skipped": (given / "texts.jsonl", jsonl, "text",
                          ["data", "build", "--input", given / "texts.jsonl", "--out",
                           given / "built", "--on-bad-line", "skip"]),
        "manifest": (manifest, manifest.read_bytes(), "json",
                     ["eval", "--checkpoint", trained, "--sequences", "1"]),
        "metrics": (given / "metrics.jsonl", metrics.read_bytes(), "text",
                    harness.train(resumed, 2, 2, "--resume", "--metrics.path", metrics)),
    }
    total = refusals = 0
    slowest = largest = 0.0
    for number, (name, (path, original, kind, command)) in enumerate(parts.items()):
        contents = [*built(kind), *mutations(original, count, number)]
        runs, refused, seconds, peak = tried(harness, name, path, contents, command)
        if harness.full:
            print(f"   {name}: {runs} files, {refused} refused, at most {seconds:.1f} s and "
                  f"{peak / 2**20:.0f} MiB", flush=True)
        total, refusals = total + runs, refusals + refused
        slowest, largest = max(slowest, seconds), max(largest, peak)
    return (f"{total} files of {len(parts)} kinds, {refusals} refused in one line, none over "
            f"{slowest:.1f} s and {largest / 2**20:.0f} MiB")
