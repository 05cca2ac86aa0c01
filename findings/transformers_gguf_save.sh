#!/usr/bin/env bash
# transformers 5.24.0 does not save a model that it has read from a GGUF file, whatever is in it.
#
# from_pretrained(gguf_file=...) gives plain float32 parameters; here the file holds float32 alone,
# so nothing was ever quantised. The model's config says quant_method "gguf" all the same, and
# save_pretrained raises a ValueError: "The model is quantized with gguf and is not serializable".
# The way from GGUF to safetensors needs model.hf_quantizer = None and the config's
# quantization_config removed first; then the file is written, with the values that were read.
#
# Output seen:
#   transformers 5.24.0, gguf 0.19.0: parameters float32, quant_method gguf
#   save_pretrained: ValueError: The model is quantized with gguf and is not serializable
#   without hf_quantizer and quantization_config: saved, values equal
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check torch==2.11.0 transformers==5.24.0 gguf==0.19.0 \
  accelerate==1.15.0 numpy
HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TRANSFORMERS_VERBOSITY=error venv/bin/python - <<'PY'
import importlib.metadata

import gguf
import numpy
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

width, inner, words = 32, 64, 40
draw = numpy.random.default_rng(0)
file = gguf.GGUFWriter("tiny.gguf", "llama")
file.add_context_length(64)
file.add_embedding_length(width)
file.add_block_count(1)
file.add_feed_forward_length(inner)
file.add_head_count(2)
file.add_head_count_kv(2)
file.add_layer_norm_rms_eps(1e-5)
file.add_rope_freq_base(1e4)
file.add_vocab_size(words)
file.add_tokenizer_model("gpt2")
file.add_token_list([f"t{i}" for i in range(words)])
file.add_token_merges(["t 1"])
shapes = {"token_embd": (words, width), "output_norm": (width,), "output": (words, width)}
for name, shape in {"attn_norm": (width,), "attn_q": (width, width), "attn_k": (width, width),
                    "attn_v": (width, width), "attn_output": (width, width), "ffn_norm": (width,),
                    "ffn_gate": (inner, width), "ffn_up": (inner, width),
                    "ffn_down": (width, inner)}.items():
    shapes[f"blk.0.{name}"] = shape
for name, shape in shapes.items():
    file.add_tensor(f"{name}.weight", draw.normal(size=shape).astype(numpy.float32))
file.write_header_to_file()
file.write_kv_data_to_file()
file.write_tensors_to_file()
file.close()

model = AutoModelForCausalLM.from_pretrained(".", gguf_file="tiny.gguf", dtype=torch.float32)
dtypes = {parameter.dtype for parameter in model.parameters()}
method = str(model.config.quantization_config.quant_method.value)
print(f"transformers {importlib.metadata.version('transformers')}, "
      f"gguf {importlib.metadata.version('gguf')}: parameters "
      f"{' '.join(str(dtype).removeprefix('torch.') for dtype in dtypes)}, quant_method {method}")
assert dtypes == {torch.float32} and method == "gguf"
try:
    model.save_pretrained("refused")
    raise SystemExit("save_pretrained worked: the behaviour has changed")
except ValueError as error:
    text = str(error).split(" - ")[0]
    print("save_pretrained: ValueError:", text)
    assert "quantized with gguf and is not serializable" in text
model.hf_quantizer = None
del model.config.quantization_config
model.save_pretrained("saved")
saved = load_file("saved/model.safetensors")
assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items()
           if name in saved) and saved
print("without hf_quantizer and quantization_config: saved, values equal")
PY
