"""Small random checkpoints for tests, in both layouts, written without Berth's own writers.

    config = tiny_config(num_layers=3)                   # any ModelConfig; keywords as its fields
    tensors = random_tensors(config, seed=1)             # full tensors by Hugging Face's names
    write_meta(folder, config, tensors, shards=2)        # params.json + consolidated.NN.pth
    write_hf(folder, config, tensors, files=3)           # config.json + *.safetensors (+ index)
    save_transformers(folder, "qwen3", seed=0)           # transformers' own class and writer

`random_tensors` fills whatever layout `config.rope_interleaved` says: the values are random, so
the same tensors can be written as either; only the function that they compute differs.
`write_hf` knows llama and mistral; the other architectures come from `save_transformers`.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from berth.checkpoint.config import ModelConfig
from berth.checkpoint.hf import to_hf
from berth.checkpoint.meta import to_meta
from berth.models.weights.names import EMBEDDING, meta_name, meta_shard_dim, tensor_shapes


def tiny_config(**changes: Any) -> ModelConfig:
    """A Llama-2-like model of 2 layers with grouped heads, shardable in 1, 2 and 4."""
    values: dict[str, Any] = {
        "architecture": "llama",
        "vocab_size": 96,
        "hidden_size": 64,
        "intermediate_size": 176,
        "num_layers": 2,
        "num_heads": 8,
        "num_kv_heads": 4,
        "head_dim": 8,
        "max_position": 4096,
        "bos_id": 1,
        "eos_ids": (2,),
        "dtype": "float32",
    }
    if changes.get("architecture") == "falcon":
        values |= {"gated_mlp": False, "norm_bias": True}
    assert set(changes) <= {field.name for field in fields(ModelConfig)}
    return ModelConfig(**(values | changes))


def random_tensors(
    config: ModelConfig, *, seed: int = 0, dtype: torch.dtype | None = None
) -> dict[str, torch.Tensor]:
    """Every tensor that `config` needs, full, by Hugging Face's name.

    Matrices have the spread that keeps activations of order one; norms are near one. `dtype`:
    that of `config` where None.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in tensor_shapes(config).items():
        values = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            values /= shape[-1] ** 0.5
        elif _is_norm(name):
            values = 1 + 0.1 * values
        else:
            values *= 0.1
        tensors[name] = values.to(dtype or getattr(torch, config.dtype))
    return tensors


def _is_norm(name: str) -> bool:
    """Whether a tensor scales what a norm gives."""
    return name.endswith(("norm.weight", "ln_attn.weight", "ln_mlp.weight", "ln_f.weight"))


def write_meta(
    folder: Path,
    config: ModelConfig,
    tensors: dict[str, torch.Tensor] | None = None,
    *,
    shards: int = 1,
    embedding_dim: int = 1,
    vocab_in_params: bool = False,
    params: dict[str, Any] | None = None,
) -> dict[str, torch.Tensor]:
    """Meta's layout: params.json and `shards` consolidated.NN.pth; returns the full tensors.

    Args:
        tensors: by Hugging Face's names; random ones of seed 0 where None. A tied head is
            written out, since Meta's layout has no tied one.
        embedding_dim: what the shards divide of tok_embeddings: 1 as Llama 1 and 2, 0 as Llama 3.
        vocab_in_params: else params.json says -1, as Llama 1's and 2's do.
        params: keys to add to params.json or to replace there.
    """
    config = replace(config, tie_embeddings=False)
    tensors = tensors or random_tensors(config)
    folder.mkdir(parents=True, exist_ok=True)
    said = to_meta(config) | ({} if vocab_in_params else {"vocab_size": -1}) | (params or {})
    (folder / "params.json").write_text(json.dumps(said))
    for shard in range(shards):
        torch.save(
            {
                meta_name(name): _part(name, tensor, shard, shards, embedding_dim)
                for name, tensor in tensors.items()
            }
            # As in Llama 2's files; nobody reads it.
            | {"rope.freqs": torch.ones(config.head_dim // 2)},
            folder / f"consolidated.{shard:02d}.pth",
        )
    return tensors


def _part(
    name: str, tensor: torch.Tensor, shard: int, shards: int, embedding_dim: int
) -> torch.Tensor:
    dim = embedding_dim if name == EMBEDDING else meta_shard_dim(name)
    return tensor if dim is None else tensor.chunk(shards, dim)[shard].clone()


def write_hf(
    folder: Path,
    config: ModelConfig,
    tensors: dict[str, torch.Tensor] | None = None,
    *,
    files: int = 1,
    changes: dict[str, Any] | None = None,
) -> dict[str, torch.Tensor]:
    """Hugging Face's layout, in one model.safetensors or in `files` with an index.

    Args:
        tensors: by name; random ones of seed 0 where None.
        files: how many; tensors are dealt to them in turn.
        changes: keys to add to config.json or to replace there.
    """
    tensors = tensors or random_tensors(config)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(to_hf(config) | (changes or {})))
    if files == 1:
        save_file(tensors, folder / "model.safetensors")
        return tensors
    where = {
        name: f"model-{index % files + 1:05d}-of-{files:05d}.safetensors"
        for index, name in enumerate(tensors)
    }
    for file in set(where.values()):
        save_file({n: t for n, t in tensors.items() if where[n] == file}, folder / file)
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return tensors


def save_transformers(
    folder: Path,
    architecture: str,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    max_shard_size: str | int = "5GB",
    **changes: Any,
) -> Any:
    """A small random model of transformers' own class, saved with save_pretrained; returns it.

    Args:
        architecture: a model_type: "llama", "mistral" (window of 6 tokens), "qwen2", "qwen3",
            "falcon" (7b's), "phi3", "gemma2", "gemma3_text".
        changes: keywords of the architecture's configuration class, over the small defaults.
    """
    import transformers

    values: dict[str, Any] = {
        "vocab_size": 96,
        "hidden_size": 64,
        "intermediate_size": 176,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 256,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
    }
    if architecture == "mistral":
        values["sliding_window"] = 6
    if architecture in ("qwen3", "gemma2", "gemma3_text"):
        values["head_dim"] = 16
    if architecture == "falcon":
        del values["intermediate_size"], values["num_key_value_heads"]
        values["ffn_hidden_size"] = 176
    config = transformers.AutoConfig.for_model(architecture, **(values | changes))
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model = model.to(dtype).eval()
    with torch.no_grad():
        # transformers starts biases at zero and norms at one, which would hide a forgotten one;
        # and matrices so small that every logit is about zero.
        for name, parameter in model.named_parameters():
            if _is_norm(name):
                parameter.add_(torch.randn_like(parameter) * 0.1)
            elif parameter.ndim == 1:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
            else:
                parameter.copy_(torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    return model
