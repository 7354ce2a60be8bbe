"""What `berth serve` and `berth fit` say by the headers is what the engine's reader says."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from berth.checkpoint.errors import CheckpointError
from berth.cli.refused import refuse_weights
from berth.images.weight_files import WeightsMissing
from berth.models.weights.folder import open_weights
from berth.models.weights.names import tensor_shapes
from berth.models.weights.source import WeightError
from models.checkpoints import random_tensors, tiny_config, write_hf

Tensors = dict[str, torch.Tensor]
Draw = random.Random

CONFIG = tiny_config(num_layers=1)


def pick(tensors: Tensors, draw: Draw) -> str:
    return draw.choice(sorted(tensors))


def drop(tensors: Tensors, draw: Draw) -> None:
    del tensors[pick(tensors, draw)]


def wrap_all(tensors: Tensors, draw: Draw) -> None:
    front = draw.choice(["_orig_mod.", "module.", "base_model.model.", "backbone.", "model."])
    for name in list(tensors):
        tensors[front + name] = tensors.pop(name)


def wrap_one(tensors: Tensors, draw: Draw) -> None:
    name = pick(tensors, draw)
    tensors[f"{draw.choice(['_orig_mod', 'module', 'other'])}.{name}"] = tensors.pop(name)


def bare(tensors: Tensors, draw: Draw) -> None:
    for name in list(tensors):
        tensors[name.removeprefix("model.")] = tensors.pop(name)


def double(tensors: Tensors, draw: Draw) -> None:
    name = pick(tensors, draw)
    tensors[f"_orig_mod.{name}"] = tensors[name].clone()


def misshape(tensors: Tensors, draw: Draw) -> None:
    tensors[pick(tensors, draw)] = torch.ones(3, 5)


def retype(tensors: Tensors, draw: Draw) -> None:
    name = pick(tensors, draw)
    kind = draw.choice([torch.float16, torch.int8, torch.float8_e4m3fn])
    tensors[name] = tensors[name].to(kind)


def add(tensors: Tensors, draw: Draw) -> None:
    names = (
        "model.layers.0.self_attn.q_proj.bias", "model.layers.7.x.weight", "rope.freqs", "v_head.w",
        "model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.0.q.lora_A.weight",
    )  # fmt: skip
    name = draw.choice(names)
    tensors[name] = torch.full((64,), draw.choice([0.0, 1.0]))


CHANGES: list[Callable[[Tensors, Draw], None]] = [
    drop, wrap_all, wrap_one, bare, double, misshape, retype, add,
]  # fmt: skip


def reindexed(folder: Path, draw: Draw) -> None:
    """A change to the index, or none."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    where = json.loads(index.read_text())["weight_map"]
    name = draw.choice(sorted(where))
    match draw.randrange(6):
        case 0:
            where = {tensor: f"./{file}" for tensor, file in where.items()}
        case 1:
            del where[name]
        case 2:
            where[name] = draw.choice(["../x.safetensors", "none.safetensors", "x.bin"])
        case 3:
            where["model.embed_tokens.weight"] = draw.choice(sorted(set(where.values())))
        case 4:
            index.unlink()
            return
    index.write_text(json.dumps({"weight_map": where}))


def said(check: Callable[[], object]) -> str | None:
    try:
        check()
    except (CheckpointError, WeightsMissing, WeightError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("seed", range(8))
def test_the_headers_and_the_reader_agree(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    passed = 0
    for number in range(25):
        tensors = random_tensors(CONFIG, seed=1)
        for change in draw.sample(CHANGES, draw.randrange(3)):
            change(tensors, draw)
        folder = tmp_path / str(number)
        write_hf(folder, CONFIG, tensors, files=draw.choice([1, 3]))
        reindexed(folder, draw)

        def read(folder: Path = folder) -> None:
            source = open_weights(folder)
            source.check(tensor_shapes(source.config))

        told = said(read)
        assert said(lambda folder=folder: refuse_weights(folder, "native")) == told, number
        passed += told is None
    assert 0 < passed < 25


def test_a_torn_file_is_refused_by_both(tmp_path: Path) -> None:
    write_hf(tmp_path, CONFIG)
    save_file({"a": torch.ones(4)}, tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    for kept in (0, 7, 9, 40, len(whole) - 1):
        (tmp_path / "model.safetensors").write_bytes(whole[:kept])
        assert said(lambda: refuse_weights(tmp_path, "native")) is not None, kept
        with pytest.raises((WeightError, CheckpointError)):
            open_weights(tmp_path)
