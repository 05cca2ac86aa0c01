#!/usr/bin/env python3
"""`data build` of conversations against transformers: the same ids and the same tokens with loss.

usage: chat_check.py PROGRAM WORK

Templates of the kinds that ChatML, Llama 2, Llama 3, Qwen 3, Gemma and Zephyr have render random
conversations; ids are those of apply_chat_template(), with the mask of the assistant's tokens where
the template marks them ({% generation %}). Where it does not, the mask is that of a copy of the
template that does. Prompts with completions are compared with what TRL's SFTTrainer makes of them.
"""
import json
import pathlib
import random
import subprocess
import sys

import numpy
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

import tokenizers_check

TEMPLATES = {
    "chatml": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
              "@{{ message['content'] + '<|im_end|>\n' }}@{% endfor %}"
              "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "llama2": "{% for message in messages %}{% if message['role'] == 'user' %}"
              "{{ bos_token + '[INST] ' + message['content'] | trim + ' [/INST]' }}"
              "{% elif message['role'] == 'assistant' %}"
              "@{{ ' ' + message['content'] | trim + ' ' + eos_token }}@"
              "{% else %}{{ raise_exception('Only user and assistant roles') }}{% endif %}{% endfor %}",
    "llama3": "{{- bos_token }}\n{%- set ns = namespace(n=0) %}\n{%- for message in messages %}\n"
              "    {%- set ns.n = ns.n + 1 %}\n"
              "    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
              "@{{- message['content'] | trim + '<|eot_id|>' }}@\n{%- endfor %}\n"
              "{%- if add_generation_prompt %}\n"
              "    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}\n{%- endif %}\n",
    "tools": "{%- if tools %}{{- '<|im_start|>system\n' }}{%- for tool in tools %}"
             "{{- tool | tojson }}{{- '\n' }}{%- endfor %}{{- '<|im_end|>\n' }}{%- endif %}"
             "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}"
             "@{{- message.content }}{%- if message.reasoning_content %}"
             "{{- '(' + message.reasoning_content + ')' }}{%- endif %}{{- '<|im_end|>\n' }}@"
             "{%- endfor %}"
             "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}",
}
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>",
           "<|eot_id|>"]


def marked(template):
    """With the assistant's parts, which stand between @, marked."""
    for word in ("generation", "endgeneration"):
        while "@" in template:
            role = "message['role'] == 'assistant'"
            first, rest = template.split("@", 1)
            part, rest = rest.split("@", 1)
            template = (f"{first}{{%- if {role} -%}}{{% generation %}}{part}{{% endgeneration %}}"
                        f"{{%- else -%}}{part}{{%- endif -%}}{rest}")
    return template


def train():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token in SPECIAL]
    tokenizer.train_from_iterator(
        [pathlib.Path(__file__).read_text()],
        trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False,
                            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
    return tokenizer


def conversations(count, tools):
    draw = random.Random(3)
    texts = tokenizers_check.varied_texts(200)
    rows = []
    for i in range(count):
        messages = []
        for turn in range(draw.randint(1, 4)):
            messages.append({"role": "user", "content": draw.choice(texts)})
            messages.append({"role": "assistant", "content": draw.choice(texts)})
        if i % 5 == 0:
            messages[-1]["content"] += "<|im_end|> </s>"  # special tokens in a message are such
        row = {"messages": messages}
        if tools and i % 2:
            row["tools"] = [{"name": "f", "description": draw.choice(texts)}]
            messages[-1].update({"reasoning": "why", "tool_calls": None})
        rows.append(row)
    return rows


def built(program, path, rows):
    with open(path / "rows.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    subprocess.run([program, "-q", "data", "build", "--tokenizer", str(path), "--special-in-text",
                    "--input", str(path / "rows.jsonl"), "--out", str(path / "out")], check=True)
    documents = tokenizers_check.documents(str(path / "out"))
    weights = numpy.fromfile(path / "out.weights", numpy.uint8)[56:]
    ends = numpy.cumsum([len(document) for document in documents])[:-1]
    return [list(map(int, ids)) for ids in documents], [list(map(int, each))
                                                        for each in numpy.split(weights, ends)]


def main():
    program, work = sys.argv[1], pathlib.Path(sys.argv[2])
    trained = train()
    failures = 0

    def check(name, found, expected):
        nonlocal failures
        same = found == expected
        failures += not same
        print(f"{name:28} {len(expected[0])} rows {'equal' if same else 'DIFFERENT'}", flush=True)

    for kind, template in TEMPLATES.items():
        reference = PreTrainedTokenizerFast(tokenizer_object=trained, bos_token="<s>",
                                            eos_token="</s>")
        rows = conversations(100, kind == "tools")
        for variant, text in (("marked", marked(template)), ("prefixes", template.replace("@", ""))):
            path = work / f"{kind}-{variant}"
            path.mkdir(parents=True, exist_ok=True)
            reference.chat_template = text
            reference.save_pretrained(path)
            answers = [reference.apply_chat_template(
                row["messages"], tools=row.get("tools"), chat_template=marked(template),
                return_dict=True, return_assistant_tokens_mask=True) for row in rows]
            expected = ([a["input_ids"] for a in answers], [a["assistant_masks"] for a in answers])
            check(f"{kind}, {variant}", built(program, path, rows), expected)
        pairs = [{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}
                 for row in rows]
        ids, masks = [], []
        for pair in pairs:
            prompt = reference.apply_chat_template(pair["prompt"], add_generation_prompt=True)
            ids.append(reference.apply_chat_template(pair["prompt"] + pair["completion"])["input_ids"])
            count = len(prompt["input_ids"])
            masks.append([0] * count + [1] * (len(ids[-1]) - count))
        check(f"{kind}, prompt of messages", built(program, path, pairs), (ids, masks))
    texts = [text for text in tokenizers_check.varied_texts(400) if text.strip()]
    pairs = [{"prompt": a, "completion": b} for a, b in zip(texts, texts[1:])]
    ids, masks = [], []
    for pair in pairs:
        completion = pair["completion"]
        completion += "" if completion.endswith("</s>") else "</s>"
        count = len(reference(pair["prompt"])["input_ids"])
        ids.append(reference(pair["prompt"] + completion)["input_ids"])
        masks.append([0] * count + [1] * (len(ids[-1]) - count))
    check("prompt and completion", built(program, path, pairs), (ids, masks))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
