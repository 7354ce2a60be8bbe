"""Falcon's weights: fused rows cut for each rank, positions as a bias, and where a tied head is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.models.falcon.modeling_falcon import build_alibi_tensor

from berth.checkpoint.config import ModelConfig
from berth.checkpoint.folder import load_config
from berth.checkpoint.hf import from_hf
from berth.kernels.batch import BLOCK
from berth.models.decoder import Attention
from berth.models.falcon import Falcon
from berth.models.loading import Loader
from berth.models.parallel import Group, share_heads
from berth.models.positions import alibi_slopes, position_tables
from berth.models.weights.folder import open_weights
from berth.models.weights.names import tensor_shapes
from engines.native.harness import Engine, alone, random_prompt
from models.checkpoints import save_transformers

CPU = torch.device("cpu")
LAYOUTS = [
    pytest.param({}, id="multi-query"),
    pytest.param({"new_decoder_architecture": True, "num_kv_heads": 2}, id="grouped"),
    pytest.param({"multi_query": False}, id="multi-head"),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("degree", [1, 2, 4, 8])
def test_fused_rows_are_cut_into_the_heads_of_each_rank(
    layout: dict[str, Any], degree: int, tmp_path: Path
) -> None:
    reference = save_transformers(tmp_path, "falcon", bias=True, **layout)
    config = load_config(tmp_path)
    assert degree in config.degrees()
    # transformers' own cutting of a product; the key and value of a group once for each query head.
    module = reference.transformer.h[1].self_attention
    x = torch.randn(1, 1, config.hidden_size)
    with torch.inference_mode():
        q, k, v = (part[0, 0] for part in module._split_heads(module.query_key_value(x)))
    every = config.num_heads // len(k)
    k, v = (t.repeat_interleave(every, 0) for t in (k, v))
    source = open_weights(tmp_path)
    for rank in range(degree):
        group = Group(rank, degree, CPU)
        share = share_heads(config.num_heads, config.num_kv_heads, group)
        loader = Loader(source, group, torch.float32, lambda count: None)
        model = Falcon(config, alone(), torch.float32, 16)
        attention: Attention = model.layers[1].attention
        attention.share = share
        rows = model._head_rows(attention, "transformer.h.1.self_attention.query_key_value")
        fused = loader.rows(rows) @ x[0, 0] + loader.rows(rows, "bias")
        mine = fused.view(-1, config.head_dim).split([share.heads, share.kv_heads, share.kv_heads])
        each = share.heads // share.kv_heads
        heads = slice(share.first, share.first + share.heads)
        torch.testing.assert_close(mine[0], q[heads])
        torch.testing.assert_close(mine[1].repeat_interleave(each, 0), k[heads])
        torch.testing.assert_close(mine[2].repeat_interleave(each, 0), v[heads])
    source.close()


@pytest.mark.parametrize("heads", [1, 6, 8, 12, 32, 71])
def test_the_bias_is_transformers(heads: int) -> None:
    want = build_alibi_tensor(torch.ones(1, 690, dtype=torch.int64), heads, torch.float32)[:, 0]
    assert alibi_slopes(heads).shape == (heads,)
    config = replace(_config(), num_heads=heads, num_kv_heads=1)
    for degree in (1, 2) if heads % 2 == 0 else (1,):
        tables = []
        for rank in range(degree):
            group = Group(rank, degree, CPU)
            table = position_tables(config, share_heads(heads, 1, group), 690, group)
            assert table.cosine is None
            assert table.alibi is not None
            assert table.alibi.shape[1] % BLOCK == 0
            tables.append(table.alibi)
        assert torch.equal(torch.cat(tables)[:, :690], want)


def _config() -> ModelConfig:
    numbers = {"num_attention_heads": 8, "hidden_size": 64, "num_hidden_layers": 2}
    return from_hf({"model_type": "falcon", "alibi": True, "vocab_size": 96} | numbers)


@pytest.mark.parametrize("kv_heads", [1, 2, 8])
def test_a_cache_block_has_the_bytes_that_the_estimate_says(kv_heads: int) -> None:
    model = Falcon(replace(_config(), num_kv_heads=kv_heads), alone(), torch.float32, 16)
    caches = model.make_caches(3)
    held = sum(cache.k.nbytes + cache.v.nbytes for cache in caches)
    assert held == 3 * model.cache_bytes_per_block()


def test_a_tied_embedding_is_found_where_only_the_head_was_kept(tmp_path: Path) -> None:
    save_transformers(tmp_path / "both", "falcon")
    prompt = random_prompt(1, 20)
    want = Engine(tmp_path / "both").run(prompt)
    tensors = load_file(tmp_path / "both" / "model.safetensors")
    assert "lm_head.weight" not in tensors
    tensors["lm_head.weight"] = tensors.pop("transformer.word_embeddings.weight")
    folder = tmp_path / "head"
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_bytes((tmp_path / "both" / "config.json").read_bytes())
    assert Engine(folder).run(prompt) == want


def test_every_tensor_of_transformers_is_expected_and_no_other(tmp_path: Path) -> None:
    for index, layout in enumerate(
        [{}, {"bias": True, "parallel_attn": False}, {"new_decoder_architecture": True}]
    ):
        folder = tmp_path / str(index)
        save_transformers(folder, "falcon", **layout)
        stored = {k: tuple(v.shape) for k, v in load_file(folder / "model.safetensors").items()}
        assert tensor_shapes(load_config(folder)) == stored
