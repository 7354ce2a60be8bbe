"""From Meta's layout to Hugging Face's and back, bit for bit, one tensor at a time."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from berth.checkpoint.config import ModelConfig
from berth.checkpoint.errors import ConfigError
from berth.checkpoint.hf import to_hf
from berth.checkpoint.layout import folder_layout
from berth.checkpoint.meta import to_meta
from berth.checkpoint.weight_format import PLAIN
from berth.models.weights.digests import write_digests
from berth.models.weights.folder import open_weights
from berth.models.weights.names import (
    EMBEDDING,
    HEAD,
    meta_name,
    meta_shard_dim,
    tensor_shapes,
)
from berth.models.weights.source import WeightSource
from berth.models.weights.verify import Verification, checks_for
from berth.models.weights.write import Planned, write_pth, write_safetensors_folder

# What a tokenizer is made of, in either layout; copied if it is there.
TOKENIZER_FILES = (
    "tokenizer.model",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
_ROWS_DIVIDED_FROM = 128_000  # tokens: from Llama 3's vocabulary on, Meta divides the rows


def convert_meta_to_hf(
    src: str | Path, dst: str | Path, *, max_file_bytes: int = 5_000_000_000
) -> ModelConfig:
    """Write the Meta folder `src` as a Hugging Face folder `dst`; returns what was written.

    An output head that equals the embedding bit for bit is written as tied.

    Raises:
        ConfigError, WeightError: as `open_weights` and `check`; nothing has been written then. And
            of a damaged tensor: `dst` is then no model, having no configuration.
        FileExistsError: `dst` is not empty.
    """
    src, dst = Path(src), Path(dst)
    _require_layout(src, "meta")
    with closing(open_weights(src)) as source:
        source.check(tensor_shapes(source.config))
        config = replace(
            source.config, rope_interleaved=False, tie_embeddings=_head_is_embedding(source)
        )
        values = to_hf(config)
        _prepare(src, dst)
        planned = {
            name: _planned(source, name, shape, "halves", (0, 0, shape[0]))
            for name, shape in tensor_shapes(config).items()
        }
        with Verification(checks_for(src, source.files, "auto"), threads=1) as verifying:
            write_safetensors_folder(dst, planned, max_file_bytes)
            verifying.finish()
    tensor_files = [path.name for path in dst.glob("*.safetensors")]
    write_digests(dst, tensor_files)
    _write_json(dst / "config.json", values)  # last: until then the folder is no model
    return config


def convert_hf_to_meta(src: str | Path, dst: str | Path, shards: int = 1) -> ModelConfig:
    """Write the Hugging Face folder `src` as a Meta folder `dst` of `shards` files.

    A tied output head is written out. The embedding is divided as Meta does: by hidden size, or
    by vocabulary from Llama 3's 128,000 tokens on.

    Raises:
        ConfigError: Meta's layout cannot express the model, or not in so many shards.
        ConfigError, WeightError: as `open_weights` and `check`; nothing has been written then. And
            of a damaged tensor: `dst` is then no model, having no configuration.
        FileExistsError: `dst` is not empty.
    """
    src, dst = Path(src), Path(dst)
    _require_layout(src, "hf")
    with closing(open_weights(src)) as source:
        if source.config.weight_format != PLAIN.name:
            raise ConfigError(
                "config.json: quantization_config: packed weights are not converted; convert the "
                "model that they were made from"
            )
        # Meta's layout has no tied head: reading lm_head.weight gives the embedding.
        config = replace(source.config, rope_interleaved=True, tie_embeddings=False)
        params = to_meta(config)
        _refuse_uneven(config, shards)
        shapes = tensor_shapes(config)
        source.check(shapes)
        _prepare(src, dst)
        with Verification(checks_for(src, source.files, "auto"), threads=1) as verifying:
            for shard in range(shards):
                planned = {
                    str(meta_name(name)): _planned(
                        source, name, shape, "pairs", _cut(name, shape, config, shard, shards)
                    )
                    for name, shape in shapes.items()
                }
                write_pth(dst / f"consolidated.{shard:02d}.pth", planned)
            verifying.finish()
    _write_json(dst / "params.json", params)
    return config


def rotary_halves(weight: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Rows of Meta's wq or wk (heads * head_dim, hidden), each head's pairs (0,1),(2,3)… moved to
    Hugging Face's (0,d/2),(1,d/2+1)…"""
    heads, hidden = weight.shape[0] // head_dim, weight.shape[1]
    return weight.view(heads, head_dim // 2, 2, hidden).transpose(1, 2).reshape(weight.shape)


def rotary_pairs(weight: torch.Tensor, head_dim: int) -> torch.Tensor:
    """The inverse of `rotary_halves`. `weight` may be some of the heads, whole ones."""
    heads, hidden = weight.shape[0] // head_dim, weight.shape[1]
    return weight.view(heads, 2, head_dim // 2, hidden).transpose(1, 2).reshape(weight.shape)


Cut = tuple[int, int, int]  # dimension, start, length


def _planned(
    source: WeightSource, name: str, shape: tuple[int, ...], rotary: str, cut: Cut
) -> Planned:
    dim, _, length = cut
    return Planned(
        (*shape[:dim], length, *shape[dim + 1 :]),
        source.read(name, length=0).dtype,
        partial(_values, source, name, rotary, cut),
        partial(source.release, name),
    )


def _values(source: WeightSource, name: str, rotary: str, cut: Cut) -> torch.Tensor:
    dim, start, length = cut
    values = source.read(name, dim=dim, start=start, length=length)
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return values
    reorder = rotary_halves if rotary == "halves" else rotary_pairs
    return reorder(values.contiguous(), source.config.head_dim)


def _cut(name: str, shape: tuple[int, ...], config: ModelConfig, shard: int, shards: int) -> Cut:
    """The part of a tensor that belongs in Meta's file number `shard`."""
    dim = meta_shard_dim(name)
    if name == EMBEDDING:
        dim = 0 if config.vocab_size >= _ROWS_DIVIDED_FROM else 1
    if dim is None:
        return 0, 0, shape[0]
    return dim, shape[dim] // shards * shard, shape[dim] // shards


def _refuse_uneven(config: ModelConfig, shards: int) -> None:
    sizes = {
        "attention heads": config.num_heads,
        "key/value heads": config.num_kv_heads,
        "vocabulary": config.vocab_size,
        "hidden size": config.hidden_size,
        "MLP width": config.intermediate_size,
    }
    for what, size in sizes.items():
        if shards < 1 or size % shards:
            possible = [d for d in config.degrees() if all(n % d == 0 for n in sizes.values())]
            raise ConfigError(
                f"{shards} shards do not divide the {what} ({size}); possible are "
                f"{', '.join(map(str, possible))}"
            )


def _head_is_embedding(source: WeightSource) -> bool:
    """Whether the two are the same bytes, compared some rows at a time."""
    rows, chunk = source.config.vocab_size, 4096
    equal = source.read(HEAD).dtype == source.read(EMBEDDING).dtype
    for start in range(0, rows, chunk):
        length = min(chunk, rows - start)
        parts = (source.read(n, start=start, length=length) for n in (HEAD, EMBEDDING))
        head, embedding = (part.contiguous().view(torch.uint8) for part in parts)
        equal = equal and torch.equal(head, embedding)
        if not equal:
            break
    source.release(HEAD)
    source.release(EMBEDDING)
    return equal


def _require_layout(src: Path, layout: str) -> None:
    if folder_layout(src) != layout:
        names = {"meta": "Meta's", "hf": "Hugging Face's"}
        raise ConfigError(f"{src.name} is not in {names[layout]} layout; use the other converter")


def _prepare(src: Path, dst: Path) -> None:
    dst.mkdir(parents=True, exist_ok=True)
    if any(dst.iterdir()):
        raise FileExistsError(f"{dst} is not empty; name a new folder")
    for name in TOKENIZER_FILES:
        if (src / name).is_file():
            shutil.copyfile(src / name, dst / name)


def _write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n")
