#!/usr/bin/env python3
"""`data build` with a tokenizer.json against Hugging Face's library: the same ids, and how fast.

usage: tokenizers_check.py PROGRAM WORK [FOLDER PATTERN]

Tokenizers of the kinds that Llama 2, Llama 3, Qwen and GPT-2 have are trained on Python's own
library; 1,000 varied texts and the folder's files (Debian's Go sources) are encoded by the program
and by the library. Fails where one id differs. The times of both stand side by side: the program
reads, encodes and writes; the library encodes what is in memory, with all cores.
"""
import json
import pathlib
import random
import subprocess
import sys
import sysconfig
import time

import numpy
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        processors, trainers)

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
ENDS = {"llama2": "</s>", "llama3": "<|end_of_text|>", "qwen": "<|endoftext|>",
        "gpt2": "<|endoftext|>"}
BEGINS = {"llama2": "<s>", "llama3": "<|begin_of_text|>"}


def train(kind, corpus):
    end, begin = ENDS[kind], BEGINS.get(kind)
    special = [AddedToken(token, special=True, normalized=False)
               for token in filter(None, (begin, end))]
    options = {"vocab_size": 4000, "special_tokens": special, "show_progress": False}
    if kind == "llama2":
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
             decoders.Strip(" ", 1, 0)])
        options["special_tokens"] = ["<unk>", *special, *(f"<0x{i:02X}>" for i in range(256))]
    else:
        tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "llama3"))
        if kind == "gpt2":
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        else:
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.Split(Regex(LLAMA3 if kind == "llama3" else QWEN), "isolated"),
                 pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        if kind == "qwen":
            tokenizer.normalizer = normalizers.NFC()
        tokenizer.decoder = decoders.ByteLevel()
        options["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(**options))
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A {begin} $B",
            special_tokens=[(begin, tokenizer.token_to_id(begin))])
    return tokenizer


def varied_texts(count):
    draw = random.Random(7)
    alphabets = ["abc XYZ_(){};\n\t", "0123456789 .,", "日本語漢字かな", "한국어", "العربية", "ไทย",
                 "é e\u0301 ü", "👩‍👩‍👧 🇩🇪", "\x00\x01\x7f", "\u200b\u2028\ufeff", "  \n\n\t ",
                 "<s></s><|endoftext|><|begin_of_text|>", "'s 'RE don't", "\U0001f600\ue000\U000e0001"]
    texts = []
    for i in range(count):
        length = draw.choice([1, 5, 40, 300, 2000])
        mixed = draw.choice(alphabets) + (draw.choice(alphabets) if i % 2 else "")
        texts.append("".join(draw.choice(mixed) for _ in range(length)))
    return texts


def documents(prefix):
    with open(prefix + ".idx", "rb") as file:
        index = file.read()
    code, count, ends = index[17], *numpy.frombuffer(index, numpy.int64, 2, 18)
    lengths = numpy.frombuffer(index, numpy.int32, count, 34)
    data = numpy.fromfile(prefix + ".bin", {8: numpy.uint16, 4: numpy.int32}[code])
    return numpy.split(data, numpy.cumsum(lengths)[:-1])


def main():
    program, work = sys.argv[1], pathlib.Path(sys.argv[2])
    folder, pattern = (sys.argv[3:] + ["/usr/share/go-1.19/src", "*.go"])[:2]
    work.mkdir(parents=True, exist_ok=True)
    library = sorted(pathlib.Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    corpus = [file.read_text(errors="replace") for file in library]
    texts = varied_texts(1000)
    with open(work / "texts.jsonl", "w") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    failures = 0
    for kind, end in ENDS.items():
        tokenizer = train(kind, corpus)
        path = work / kind
        path.mkdir(exist_ok=True)
        tokenizer.save(str(path / "tokenizer.json"))
        (path / "tokenizer_config.json").write_text(json.dumps({"eos_token": end}))
        tokenizer.encode_special_tokens = True
        last = tokenizer.token_to_id(end)

        def check(name, expected):
            nonlocal failures
            found = documents(str(path / name))
            same = len(found) == len(expected) and all(
                ids == list(document) for ids, document in zip(expected, found))
            failures += 0 if same else 1
            return "equal" if same else "DIFFERENT"

        def build(name, *arguments):
            begin = time.monotonic()
            subprocess.run([program, "-q", "data", "build", "--tokenizer", str(path), "--out",
                            str(path / name), *arguments], check=True)
            return time.monotonic() - begin

        build("texts", "--input", str(work / "texts.jsonl"))
        first = check("texts", [tokenizer.encode(text).ids + [last] for text in texts])
        seconds = build("folder", "--input", folder, "--pattern", pattern)
        files = sorted((file for file in pathlib.Path(folder).rglob(pattern) if file.is_file()
                        and not any(part.startswith(".") for part in file.relative_to(folder).parts)),
                       key=lambda file: [part.encode() for part in file.relative_to(folder).parts])
        contents = [file.read_bytes().decode(errors="replace") for file in files]
        contents = [content for content in contents if content]
        begin = time.monotonic()
        encoded = tokenizer.encode_batch(contents)
        alone = time.monotonic() - begin
        second = check("folder", [each.ids + [last] for each in encoded])
        print(f"{kind:7} {len(texts)} texts {first}, {len(contents)} files of "
              f"{sum(map(len, contents)) / 1e6:.0f} MB {second}; {seconds:.1f} s, the library "
              f"{alone:.1f} s: {alone / seconds:.2f} of its speed", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
