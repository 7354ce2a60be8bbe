"""Small random models of many architectures, made by transformers' own classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

VOCAB = 96
EOS = 2
_NEW = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
_OLD = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
_EXPERTS = {
    "num_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
_LINEAR = {
    "num_hidden_layers": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 8,
    "q_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 1,
}
# name: (model_type, settings of its configuration)
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", _GPT),
    "gptj": ("gptj", _GPT | {"rotary_dim": 4}),
    "gpt_neox": ("gpt_neox", _OLD | {"intermediate_size": 64, "max_position_embeddings": 256}),
    "opt": (
        "opt",
        _OLD | {"ffn_dim": 64, "max_position_embeddings": 256, "word_embed_proj_dim": 32},
    ),
    "bloom": ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mpt": ("mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 256}),
    "phi": ("phi", _NEW),
    "phi3": ("phi3", _NEW | {"pad_token_id": 0, "sliding_window": None}),
    "stablelm": ("stablelm", _NEW),
    "gemma": ("gemma", _NEW | {"head_dim": 8}),
    "gemma2": ("gemma2", _NEW | {"head_dim": 8, "sliding_window": 6}),
    "gemma3": ("gemma3_text", _NEW | {"head_dim": 8, "sliding_window": 6}),
    "mixtral": ("mixtral", _NEW | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "mistral": ("mistral", _NEW | {"sliding_window": 6}),
    "falcon-7b": (
        "falcon",
        _OLD | {"multi_query": True, "new_decoder_architecture": False, "alibi": False},
    ),
    "falcon-40b": ("falcon", _OLD | {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon-rw": (
        "falcon",
        _OLD | {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True},
    ),
    "llama-dynamic": (
        "llama",
        _NEW
        | {
            "max_position_embeddings": 16,
            "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
        },
    ),
    "mamba": ("mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}),
    "gpt1": ("openai-gpt", _GPT),
    "cohere": ("cohere", _NEW),
    "cohere2": ("cohere2", _NEW | {"head_dim": 8, "sliding_window": 6}),
    "deepseek_v3": ("deepseek_v3", _NEW | _LATENT),
    "glm4": ("glm4", _NEW | {"head_dim": 8, "pad_token_id": 0}),
    "glm4_moe": ("glm4_moe", _NEW | _EXPERTS | {"head_dim": 8, "first_k_dense_replace": 1}),
    "gpt_oss": (
        "gpt_oss",
        _NEW | {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "granite": ("granite", _NEW),
    "hunyuan": ("hunyuan_v1_dense", _NEW | {"head_dim": 8}),
    "lfm2": ("lfm2", _NEW | {"layer_types": ["conv", "full_attention"], "block_ff_dim": 64}),
    "minimax_m2": (
        "minimax_m2",
        _NEW | {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "rotary_dim": 8},
    ),
    "olmo2": ("olmo2", _NEW),
    "olmo3": ("olmo3", _NEW | {"sliding_window": 6}),
    "qwen3_5": ("qwen3_5_text", _NEW | _LINEAR | {"head_dim": 8}),
    "qwen3_5_moe": ("qwen3_5_moe_text", _NEW | _LINEAR | _EXPERTS | {"head_dim": 8}),
    "qwen3_moe": ("qwen3_moe", _NEW | _EXPERTS | {"head_dim": 8}),
    "qwen3_next": ("qwen3_next", _NEW | _LINEAR | _EXPERTS | {"head_dim": 8}),
    "starcoder2": ("starcoder2", _NEW | {"sliding_window": 6}),
}


def make_model(name: str, seed: int = 0, **changes: Any) -> Any:
    """A random model in float32, of spread-out logits, so that greedy choices are clear."""
    kind, settings = ARCHITECTURES[name]
    values = {"vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": EOS} | settings | changes
    config = transformers.AutoConfig.for_model(kind, **values)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
            elif kind != "mamba":  # its vectors are time constants
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.generation_config = transformers.GenerationConfig()
    return model


def save_model(folder: Path, name: str, **changes: Any) -> Any:
    """Write it as a Hugging Face folder; returns the model."""
    model = make_model(name, **changes)
    model.save_pretrained(folder)
    return model


def random_prompt(seed: int, length: int) -> list[int]:
    """Token ids of no meaning, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB, (length,), generator=generator).tolist()


def generate_alone(model: Any, prompt: list[int], max_tokens: int, **settings: Any) -> list[int]:
    """What transformers' generate gives after this prompt, run by itself."""
    values = {"do_sample": False, "max_new_tokens": max_tokens, "eos_token_id": EOS} | settings
    with torch.inference_mode():
        rows = model.generate(
            torch.tensor([prompt]),
            generation_config=transformers.GenerationConfig(pad_token_id=EOS, **values),
        )
    return rows[0, len(prompt) :].tolist()
