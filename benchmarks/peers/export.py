"""Writes the PyTorch side's documents and initial weights for the other side, as safetensors: weights
under Hugging Face's names; `lengths` int64 and all documents' bytes, one after the other, as
`tokens`."""
import json
import struct

from common import *


def write_safetensors(path, tensors):
    names = {torch.float32: "F32", torch.int64: "I64", torch.uint8: "U8"}
    header, offset = {}, 0
    for name, t in tensors.items():
        size = t.numel() * t.element_size()
        header[name] = dict(dtype=names[t.dtype], shape=list(t.shape),
                            data_offsets=[offset, offset + size])
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            f.write(t.contiguous().numpy().tobytes())


a = arguments()
docs = load_documents(a)
model = Stage(0, a.layers, a.layers)
tensors = {"lengths": torch.tensor([len(d) for d in docs]), "tokens": torch.cat(docs).byte(),
           "model.embed_tokens.weight": model.emb.detach()}
parts = {"n1": "input_layernorm", "wq": "self_attn.q_proj", "wk": "self_attn.k_proj",
         "wv": "self_attn.v_proj", "wo": "self_attn.o_proj", "n2": "post_attention_layernorm",
         "wg": "mlp.gate_proj", "wu": "mlp.up_proj", "wd": "mlp.down_proj"}
for i, layer in enumerate(model.layers):
    for short, name in parts.items():
        tensors[f"model.layers.{i}.{name}.weight"] = getattr(layer, short).detach()
tensors["model.norm.weight"] = model.nf.detach()
tensors["lm_head.weight"] = model.head.detach()
write_safetensors(a.out, tensors)
