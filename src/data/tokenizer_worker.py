# Encodes and decodes with Hugging Face's tokenizers for a parent process: text and ids go over stdin
# and stdout. The program holds this file's text and runs it with python -I -c.
#
# First comes one answer about the tokenizer: JSON, or what is wrong with it. Then, until stdin ends:
#   e LENGTH text        ->  COUNT ids (u32 each)
#   d COUNT ids          ->  LENGTH text
# Numbers are u64, little-endian. An answer that begins with 2^64 - 1 is LENGTH and a message.
import array
import json
import os
import signal
import struct
import sys

for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)  # the parent decides when to end
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a worker is one thread

source, sink = os.fdopen(0, "rb", 1 << 20), os.fdopen(os.dup(1), "wb", 1 << 20)
os.dup2(2, 1)  # nothing else may write into the answers


def answer(count, content):
    sink.write(struct.pack("<Q", count))
    sink.write(content)
    sink.flush()


def complain(message):
    text = str(message).encode("utf-8", "replace")[:2000]
    answer(2**64 - 1, struct.pack("<Q", len(text)) + text)


def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError, RecursionError):
        return {}


def end_of(tokenizer, folder):
    """The id that ends a document: as the files beside say, else by a name that is usual."""
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        token = read_json(os.path.join(folder, file)).get("eos_token")
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str) and tokenizer.token_to_id(token) is not None:
            return tokenizer.token_to_id(token)
    for file in ("generation_config.json", "config.json"):
        ids = read_json(os.path.join(folder, file)).get("eos_token_id")
        ids = ids if isinstance(ids, list) else [ids]
        if ids and isinstance(ids[0], int) and not isinstance(ids[0], bool) and ids[0] >= 0:
            return ids[0]
    for token in ("<|end_of_text|>", "<|endoftext|>", "</s>", "<|im_end|>"):
        if tokenizer.token_to_id(token) is not None:
            return tokenizer.token_to_id(token)
    return None


def begin_of(tokenizer):
    """What the tokenizer itself puts before each text."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a", add_special_tokens=True).ids
    for begin in range(len(whole) - len(plain) + 1):
        if whole[begin:begin + len(plain)] == plain:
            return whole[:begin]
    return []


def read_exactly(count):
    content = source.read(count)
    if len(content) != count:
        sys.exit(0)
    return content


def main(path, special_in_text):
    try:
        import tokenizers
    except ImportError:
        return complain("no module tokenizers")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(path)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = not special_in_text
        ids = tokenizer.get_vocab(with_added_tokens=True).values()
        about = {"ids": max(ids, default=-1) + 1, "begin": begin_of(tokenizer),
                 "end": end_of(tokenizer, os.path.dirname(path)),
                 "version": tokenizers.__version__}
    except BaseException as error:  # the library's panics are no Exception
        return complain(error)
    text = json.dumps(about).encode()
    answer(len(text), text)
    while operation := source.read(1):
        count, = struct.unpack("<Q", read_exactly(8))
        try:
            if operation == b"e":
                text = read_exactly(count).decode("utf-8")
                encoded = array.array("I", tokenizer.encode(text, add_special_tokens=False).ids)
                answer(len(encoded), encoded.tobytes())
            else:
                ids = array.array("I", read_exactly(4 * count))
                decoded = tokenizer.decode(ids.tolist(), skip_special_tokens=False).encode("utf-8")
                answer(len(decoded), decoded)
        except BaseException as error:
            if isinstance(error, SystemExit):
                raise
            complain(error)


main(sys.argv[1], sys.argv[2] == "special")
