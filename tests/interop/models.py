"""Tiny random models as transformers makes and saves them, of every family and RoPE."""
import contextlib
import sys

import torch
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

CONTEXT = 256  # that the models are for
FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": None, "head_dim": 20}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 20}),
    "mistral_window": (MistralConfig, MistralForCausalLM, {"sliding_window": 50, "head_dim": 20}),
    "qwen2_window": (Qwen2Config, Qwen2ForCausalLM, {
        "use_sliding_window": True, "sliding_window": 50, "max_window_layers": 0}),
}
PLAIN_ROPE = {"mistral_window", "qwen2_window"}  # RoPE does not hang on the window
ROPES = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 64},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    "yarn_exact": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32,
                   "truncate": False, "beta_fast": 16.0, "mscale": 0.7, "mscale_all_dim": 0.9},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
}


class _Wide:
    """PyTorch, but that float32 means float64."""
    float = float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


@contextlib.contextmanager
def without_float32():
    """transformers computes frequencies, cosines, sines and norms in float32, whatever the model's
    dtype. Inside, the modules of the families above have float64 there."""
    names = ["transformers.modeling_rope_utils"] + [each[1].__module__ for each in FAMILIES.values()]
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)  # of quotients of whole numbers
        for name in names:
            sys.modules[name].torch = _Wide()
        yield
    finally:
        torch.set_default_dtype(default)
        for name in names:
            sys.modules[name].torch = torch


def make(family, rope, tied, seed=0):
    config_class, model_class, more = FAMILIES[family]
    torch.manual_seed(seed)
    config = config_class(
        vocab_size=131, hidden_size=48, intermediate_size=80, num_hidden_layers=3,
        num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=CONTEXT,
        initializer_range=0.15, rms_norm_eps=1e-5, tie_word_embeddings=tied, bos_token_id=1,
        eos_token_id=[2, 3], rope_parameters={**ROPES[rope], "rope_theta": 5000.0}, **more)
    model = model_class(config).eval()
    with torch.no_grad():  # ones and zeros would hide what norms and biases do
        for _, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model
