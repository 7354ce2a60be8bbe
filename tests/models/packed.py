"""Checkpoints with 8-bit weights, as compressed-tensors stores them, and what they mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from berth.checkpoint.folder import load_config
from berth.models.weights.names import HEAD, embedding_name

LAYOUTS = ("int-quantized", "pack-quantized")


def quantization(layout: str, *ignore: str, **weights: Any) -> dict[str, Any]:
    """A quantization_config as llm-compressor writes it.

    Args:
        weights: what is otherwise in the group's weights.
    """
    told: dict[str, Any] = {
        "actorder": None,
        "block_structure": None,
        "dynamic": False,
        "group_size": None,
        "num_bits": 8,
        "observer": "minmax",
        "observer_kwargs": {},
        "strategy": "channel",
        "symmetric": True,
        "type": "int",
    }
    group = {
        "input_activations": None,
        "output_activations": None,
        "targets": ["Linear"],
        "weights": told | weights,
    }
    return {
        "config_groups": {"group_0": group},
        "format": layout,
        "global_compression_ratio": 1.5,
        "ignore": list(ignore),
        "kv_cache_scheme": None,
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
    }


def pack(
    plain: Path, packed: Path, meant: Path, layout: str, *, head: bool = False
) -> dict[str, torch.Tensor]:
    """Quantise a folder of floats; `meant` gets the floats that the integers stand for.

    Args:
        head: whether the output head is packed too.

    Returns: the tensors of `packed`.
    """
    config = json.loads((plain / "config.json").read_text())
    embedding = embedding_name(load_config(plain))
    stored: dict[str, torch.Tensor] = {}
    floats: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(plain / "model.safetensors").items():
        if tensor.dim() != 2 or name == embedding or (name == HEAD and not head):
            stored[name] = floats[name] = tensor
            continue
        scale = (tensor.abs().amax(1, keepdim=True) / 127).to(torch.bfloat16)
        whole = (tensor / scale.float()).round().clamp(-128, 127).to(torch.int8)
        floats[name] = whole.float() * scale.float()
        stored[name + "_scale"] = scale
        if layout == "int-quantized":
            stored[name] = whole
        else:
            stored[name + "_packed"] = words(whole)
            stored[name + "_shape"] = torch.tensor(whole.shape)
    for folder in (packed, meant):
        folder.mkdir()
    told = quantization(layout, *(() if head else ("lm_head",)))
    save_file(stored, packed / "model.safetensors", {"format": "pt"})
    save_file(floats, meant / "model.safetensors", {"format": "pt"})
    (packed / "config.json").write_text(json.dumps(config | {"quantization_config": told}))
    (meant / "config.json").write_text(json.dumps(config))
    return stored


def words(whole: torch.Tensor) -> torch.Tensor:
    """Four integers in each int32, plus 128, the first in the lowest bits."""
    rows, columns = whole.shape
    unsigned = torch.zeros(rows, -(-columns // 4) * 4, dtype=torch.int64)
    unsigned[:, :columns] = whole.to(torch.int64) + 128
    shifted = unsigned.view(rows, -1, 4) << torch.tensor([0, 8, 16, 24])
    joined = shifted.sum(-1)
    return torch.where(joined >= 2**31, joined - 2**32, joined).to(torch.int32)
