"""robustness 13 and 17: every file of a checkpoint cut and flipped; values that are not finite."""
import ctypes
import json
import random
import shutil
import struct

from program import one_error, require


def trained(harness):
    """A folder with the checkpoints of steps 2 and 4."""
    folder = harness.folder("trained")
    harness.succeed(*harness.train(folder, 4, 2))
    return folder


def files(harness):
    folder = trained(harness)
    newest = folder / "step-000004"
    draw = random.Random(13)
    done = 0
    places = 150 if harness.full else 3
    for name in ("model.safetensors", "optimizer.safetensors", "manifest.json"):
        path = newest / name
        original = path.read_bytes()
        # The header's bytes, each on its own in the full form, and places anywhere.
        chosen = [draw.randrange(len(original)) for _ in range(places)]
        if harness.full:
            chosen += range(0, 64)
        for i, place in enumerate(chosen):
            harness.progress(f"{name} at {place}")
            if i % 2 == 0:
                damaged = bytearray(original)
                damaged[place] ^= 1 << draw.randrange(8)
            else:
                damaged = original[:place]
            path.write_bytes(damaged)
            command = ("eval", "generate")[i % 8 == 7]
            more = ["--prompt", "a", "--tokens", "1"] if command == "generate" else \
                ["--sequences", "1"]
            result = harness.run(command, "--checkpoint", folder, *more)
            require(result.code == 0 and "passed over" in result.err and name in result.err,
                    f"{name} at {place}, {'flipped' if i % 2 == 0 else 'cut'}: {result}")
            done += 1
        for kind in ("missing", "empty", "of another step"):
            path.unlink()
            if kind == "empty":
                path.touch()
            elif kind != "missing":
                shutil.copy(folder / "step-000002" / name, path)
            result = harness.run("eval", "--checkpoint", folder, "--sequences", "1")
            # A manifest of another step is whole; the files are not the ones that it names.
            require(result.code == 0 and "passed over" in result.err and
                    (name in result.err or name == "manifest.json"), f"{name} {kind}: {result}")
            path.write_bytes(original)
            done += 1
    require("passed over" not in harness.succeed("eval", "--checkpoint", folder).err,
            "the mended checkpoint is passed over")
    alone = folder / "step-000002/model.safetensors"
    alone.write_bytes(alone.read_bytes()[:-1])
    path = newest / "model.safetensors"
    path.write_bytes(original[:100])
    one_error(harness.run("eval", "--checkpoint", folder), folder, "model.safetensors")
    return f"{done} damages to 3 files, each named and an older checkpoint taken"


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


def content_hash(content):
    """XXH3-128 as manifests write it."""
    library = ctypes.CDLL("libxxhash.so.0")
    library.XXH3_128bits.restype = Hash128
    library.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    value = library.XXH3_128bits(bytes(content), len(content))
    return f"{value.high:016x}{value.low:016x}"


def non_finite(harness):
    """A value that is not finite in each tensor, with hashes that are right."""
    folder = trained(harness)
    shutil.rmtree(folder / "step-000002")
    newest = folder / "step-000004"
    manifest = json.loads((newest / "manifest.json").read_text())
    del manifest["hash"]  # as in older ones, so that the files' hashes can be set
    done = 0
    draw = random.Random(17)
    for entry in manifest["files"]:
        path = newest / entry["name"]
        original = path.read_bytes()
        require(content_hash(original) == entry["hash"], f"the hash of {path} is not understood")
        size, = struct.unpack_from("<Q", original)
        tensors = {name: value for name, value in json.loads(original[8:8 + size]).items()
                   if name != "__metadata__"}
        names = sorted(tensors) if harness.full else sorted(tensors)[:2]
        for name in names:
            harness.progress(f"{entry['name']}: {name}")
            begin, end = tensors[name]["data_offsets"]
            place = 8 + size + begin + 4 * draw.randrange((end - begin) // 4)
            damaged = bytearray(original)
            bad = draw.choice([float("nan"), float("inf"), float("-inf")])
            struct.pack_into("<f", damaged, place, bad)
            path.write_bytes(damaged)
            kept = entry["hash"]
            entry["hash"] = content_hash(damaged)
            (newest / "manifest.json").write_text(json.dumps(manifest))
            result = harness.run(*harness.train(folder, 6, 2, "--resume"))
            one_error(result, name, "not finite")
            entry["hash"] = kept
            done += 1
        path.write_bytes(original)
        (newest / "manifest.json").write_text(json.dumps(manifest))
    harness.succeed("eval", "--checkpoint", folder)
    return f"{done} tensors with a value that is not finite, each refused by name"
