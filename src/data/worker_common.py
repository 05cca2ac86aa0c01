# What the Python programs that a parent process talks to have in common: the program holds this
# file's text and puts it before that of each of them.
#
# Numbers are u64, little-endian. An answer is a count and its content, or 2^64 - 1, LENGTH and a
# message that says what is wrong.
import array
import json
import os
import signal
import struct
import sys

for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)  # the parent decides when to end

source, sink = os.fdopen(0, "rb", 1 << 20), os.fdopen(os.dup(1), "wb", 1 << 20)
os.dup2(2, 1)  # nothing else may write into the answers


def answer(count, content):
    sink.write(struct.pack("<Q", count))
    sink.write(content)
    sink.flush()


def complain(message):
    text = "".join(c if c.isprintable() else " " for c in str(message)[:2000])
    text = " ".join(text.split()).encode("utf-8", "replace")[:2000]
    answer(2**64 - 1, struct.pack("<Q", len(text)) + text)


def read_exactly(count):
    content = source.read(count)
    if len(content) != count:
        sys.exit(0)
    return content


def requests():
    """Operation and count of each, until stdin ends."""
    while operation := source.read(1):
        yield operation, struct.unpack("<Q", read_exactly(8))[0]


def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError, RecursionError):
        return {}
