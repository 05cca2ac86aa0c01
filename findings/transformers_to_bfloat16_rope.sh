#!/usr/bin/env bash
# In transformers 5.24.0, model.to(torch.bfloat16) and from_pretrained(dtype=torch.bfloat16) are
# different models: the first rounds the frequencies of RoPE as well.
#
# inv_freq is a buffer, and Module.to() converts it like the weights; loading makes it anew in
# float32. A frequency of 0.3 that is off by a thousandth is a radian off after 3,000 positions.
# Going back with .to(torch.float32) does not bring them back, so a model that was once converted
# gives other logits than the file that it saves: the weights are the same, and nothing is said.
#
# Output seen (one random Llama of 3 layers, 512 tokens):
#   transformers 5.24.0, torch 2.11.0: weights equal after .to(bfloat16).to(float32) and after loading: True
#   inv_freq equal: False, largest relative difference 9.8e-04
#   logits differ by 0.036 of the largest one
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check torch==2.11.0 transformers==5.24.0 numpy
HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TRANSFORMERS_VERBOSITY=error venv/bin/python - <<'PY'
import importlib.metadata

import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=131, hidden_size=48, intermediate_size=80, num_hidden_layers=3,
    num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=512,
    initializer_range=0.15)).eval().to(torch.bfloat16)
model.save_pretrained("model")
converted = model.to(torch.float32)
loaded = LlamaForCausalLM.from_pretrained("model", dtype=torch.bfloat16).eval()
frequencies = [each.model.rotary_emb.inv_freq.double() for each in (converted, loaded)]
loaded = LlamaForCausalLM.from_pretrained("model", dtype=torch.float32).eval()
same = all(torch.equal(value, loaded.state_dict()[name])
           for name, value in converted.state_dict().items())
print(f"transformers {importlib.metadata.version('transformers')}, torch "
      f"{torch.__version__.split('+')[0]}: weights equal after .to(bfloat16).to(float32) and after "
      f"loading: {same}")
off = float(((frequencies[0] - frequencies[1]) / frequencies[1]).abs().max())
print(f"inv_freq equal: {off == 0.0}, largest relative difference {off:.1e}")
tokens = torch.randint(0, 131, (1, 512))
with torch.no_grad():
    first, second = converted(tokens).logits, loaded(tokens).logits
gap = float((first - second).abs().max() / second.abs().max())
print(f"logits differ by {gap:.3f} of the largest one")
assert same and off > 1e-4 and gap > 1e-3, "the behaviour has changed"
PY
