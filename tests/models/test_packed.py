"""8-bit weights: the engine computes what the integers stand for, and refuses what is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from berth.checkpoint.choose import engine_for
from berth.checkpoint.config import ModelConfig
from berth.checkpoint.errors import CheckpointError, ConfigError
from berth.checkpoint.folder import describe, load_config
from berth.checkpoint.numbers import numbers_of
from berth.cli.refused import refuse
from berth.fit import FitRequest, fit
from berth.fit.machines import cpu_node
from berth.fit.units import GIB
from berth.kernels.int8 import Int8Linear
from berth.models.formats import Rows, format_named
from berth.models.loading import Loader
from berth.models.parallel import Group
from berth.models.registry import model_class
from berth.models.weights.convert import convert_hf_to_meta
from berth.models.weights.digests import write_digests
from berth.models.weights.folder import open_weights
from berth.models.weights.source import WeightError
from berth.models.weights.verify import verification
from engines.native.harness import Engine, alone, random_prompt
from models.checkpoints import save_transformers
from models.packed import LAYOUTS, pack, quantization

PHI = {"head_dim": 16, "hidden_size": 128, "partial_rotary_factor": 0.75}
MODELS = [
    pytest.param("llama", {"attention_bias": True, "mlp_bias": True}, False, id="llama"),
    pytest.param("llama", {"tie_word_embeddings": True}, False, id="llama-tied"),
    pytest.param("qwen2", {}, True, id="qwen2-head-packed"),
    pytest.param("phi3", PHI, False, id="phi-rows-reordered"),
    pytest.param("gemma2", {"query_pre_attn_scalar": 24}, False, id="gemma2-rows-scaled"),
    pytest.param("falcon", {}, False, id="falcon"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A llama in floats, packed in each layout, and in the floats that those stand for."""
    root = tmp_path_factory.mktemp("packed")
    save_transformers(root / "plain", "llama", seed=4)
    for layout in LAYOUTS:
        pack(root / "plain", root / layout, root / f"{layout}-meant", layout)
    return {each.name: each for each in root.iterdir()}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("architecture", "changes", "head"), MODELS)
def test_logits_are_those_of_the_floats_that_the_integers_stand_for(
    architecture: str, changes: dict[str, Any], head: bool, layout: str, tmp_path: Path
) -> None:
    save_transformers(tmp_path / "plain", architecture, seed=3, **changes)
    pack(tmp_path / "plain", tmp_path / "packed", tmp_path / "meant", layout, head=head)
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "meant", dtype=torch.float32)
    engine = Engine(tmp_path / "packed", max_batch_tokens=128)
    # One is decoded alone, one is prefilled in rows that are unpacked, one in chunks.
    for prompt in (random_prompt(1, 5), random_prompt(2, 90), random_prompt(3, 150)):
        request = engine.submit(prompt, max_tokens=6)
        engine.drain()
        output = engine.tokens(request)
        with torch.inference_mode():
            want = reference(torch.tensor([prompt + output])).logits[0, len(prompt) - 1 : -1]
        torch.testing.assert_close(engine.logits(request), want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("degree", [1, 2, 4])
def test_the_ranks_shares_are_the_whole(folders: dict[str, Path], layout: str, degree: int) -> None:
    folder = folders[layout]
    source, meant = open_weights(folder), open_weights(folders[f"{layout}-meant"])
    packed = format_named(load_config(folder).weight_format)
    layer = "model.layers.1.mlp.down_proj"
    want = meant.read(f"{layer}.weight")
    rows, columns = [], []
    for rank in range(degree):
        group = Group(rank, degree, torch.device("cpu"))
        loader = Loader(source, group, torch.float32, lambda count: None)
        count, width = want.shape[0] // degree, want.shape[1] // degree
        for taken, into in (
            (packed.rows(loader, [Rows(layer, rank * count, count)]), rows),
            (packed.columns(loader, layer, rank * width, width), columns),
        ):
            into.append(taken.weight.float() * taken.scale[:, None])  # type: ignore[attr-defined]
    assert torch.equal(torch.cat(rows), want)
    assert torch.equal(torch.cat(columns, 1), want)
    source.close(), meant.close()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("head", [True, False])
def test_fit_check_and_the_engine_say_the_same(layout: str, head: bool, tmp_path: Path) -> None:
    save_transformers(tmp_path / "plain", "llama", seed=4)
    pack(tmp_path / "plain", tmp_path / "packed", tmp_path / "meant", layout, head=head)
    folder = tmp_path / "packed"
    described, config = describe(folder), load_config(folder)
    assert engine_for(described, installed=lambda package: False).engine == "native"
    refuse(folder, "native", 1)  # raises nothing
    assert described.numbers is not None
    assert described.numbers == numbers_of(config)
    for stored in (described.stored_bytes, None):
        asked = FitRequest(
            model=described.numbers, machine=cpu_node(GIB), stored_bytes=stored, context=64
        )
        verdict = fit(asked)
        assert verdict.worst is not None
        assert verdict.worst.of("weights") == _loaded(folder, config)


def _loaded(folder: Path, config: ModelConfig) -> int:
    source = open_weights(folder)
    with torch.inference_mode():
        dtype = getattr(torch, config.dtype)
        size = model_class(config)(config, alone(), dtype, 64).load(source, lambda count: None)
    source.close()
    return size


Change = Callable[[dict[str, torch.Tensor]], None]
NAME = "model.layers.0.mlp.up_proj"
DAMAGE: list[tuple[str, Change, str]] = [
    ("int-quantized", lambda t: t.pop(f"{NAME}.weight_scale"), "weight_scale in .*: is missing"),
    ("int-quantized", lambda t: t.pop(f"{NAME}.weight"), "up_proj.weight in .*: is missing"),
    (
        "int-quantized",
        lambda t: t.update({f"{NAME}.weight": t[f"{NAME}.weight"].float()}),
        "up_proj.weight in .*its dtype is float32; by config.json it must be int8",
    ),
    (
        "int-quantized",
        lambda t: t.update({f"{NAME}.weight_scale": t[f"{NAME}.weight_scale"][:1].clone()}),
        r"weight_scale in .*its shape is \(1, 1\)",
    ),
    (
        "int-quantized",
        lambda t: t[f"{NAME}.weight_scale"][3].fill_(torch.nan),
        "up_proj.weight_scale in .*a scale in it is negative or not a number",
    ),
    (
        "int-quantized",
        lambda t: t.update({f"{NAME}.weight_zero_point": torch.zeros(176, 1)}),
        "weight_zero_point in .*does not use it",
    ),
    ("pack-quantized", lambda t: t.pop(f"{NAME}.weight_packed"), "weight_packed in .*: is missing"),
    (
        "pack-quantized",
        lambda t: t.update({f"{NAME}.weight_shape": torch.tensor([64, 176])}),
        r"weight_shape in .*it says \(64, 176\), but config.json asks for \(176, 64\)",
    ),
]


@pytest.mark.parametrize(("layout", "change", "says"), DAMAGE)
def test_what_is_damaged_is_refused_by_name(
    layout: str, change: Change, says: str, tmp_path: Path
) -> None:
    save_transformers(tmp_path / "plain", "llama", seed=4, intermediate_size=176)
    stored = pack(tmp_path / "plain", tmp_path / "packed", tmp_path / "meant", layout)
    change(stored)
    save_file(stored, tmp_path / "packed/model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=says):
        Engine(tmp_path / "packed")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_flipped_byte_is_refused_by_its_file(layout: str, tmp_path: Path) -> None:
    save_transformers(tmp_path / "plain", "llama", seed=4)
    pack(tmp_path / "plain", tmp_path / "packed", tmp_path / "meant", layout)
    file = tmp_path / "packed/model.safetensors"
    write_digests(file.parent, [file.name])
    content = bytearray(file.read_bytes())
    content[-1000] ^= 1  # among the integers: no number is out of its range by it
    for damaged in (False, True):
        if damaged:
            file.write_bytes(content)
        source = open_weights(file.parent)
        verifying = verification(file.parent, source.files, "auto")
        if damaged:
            with pytest.raises(WeightError, match=r"model\.safetensors"), verifying:
                verifying.finish()
        else:
            with verifying:
                verifying.finish()
        source.close()


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"num_bits": 4}, "num_bits is 4: it must be 8"),
    ({"symmetric": False}, "symmetric is false"),
    ({"strategy": "group", "group_size": 128}, "strategy is \"group\": it must be 'channel'"),
    ({"group_size": 128}, "group_size is 128"),
    ({"type": "float"}, 'type is "float"'),
    ({"dynamic": True}, "dynamic is true"),
    ({"actorder": "group"}, 'actorder is "group"'),
    ({"num_bits": True}, "num_bits is true"),
]


@pytest.mark.parametrize(("weights", "says"), OTHERS)
def test_weights_packed_in_another_way_are_refused_by_key(
    weights: dict[str, Any], says: str, folders: dict[str, Path]
) -> None:
    assert says in refusal(folders["plain"], quantization("int-quantized", **weights))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "float-quantized"}, 'format is "float-quantized": read are int-quantized'),
        ({"ignore": ["model.layers.0.mlp.up_proj"]}, "the only layer that may be left as it is"),
        ({"ignore": 3}, "ignore is 3: it must be a list of names"),
        ({"config_groups": {}}, "it must have one group"),
        ({"kv_cache_scheme": {"num_bits": 8}}, "the cache is not quantised"),
        ({"quantization_status": "frozen"}, "only compressed weights are read"),
        ({"sparsity_config": {"format": "sparse-24"}}, "sparse weights are not read"),
        ({"quant_method": "gptq"}, "these quantised weights are not read"),
    ],
)
def test_what_else_is_not_computed_is_refused_by_key(
    changes: dict[str, Any], says: str, folders: dict[str, Path]
) -> None:
    assert says in refusal(folders["plain"], quantization("int-quantized") | changes)


def test_quantised_activations_are_refused(folders: dict[str, Path]) -> None:
    told = quantization("int-quantized")
    told["config_groups"]["group_0"]["input_activations"] = {"num_bits": 8, "dynamic": True}
    assert "quantised activations are not computed" in refusal(folders["plain"], told)


def refusal(plain: Path, told: dict[str, Any]) -> str:
    from berth.checkpoint.hf import from_hf

    config = json.loads((plain / "config.json").read_text())
    with pytest.raises(ConfigError) as error:
        from_hf(config | {"quantization_config": told})
    return str(error.value)


def test_packed_weights_are_not_converted(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="packed weights are not converted"):
        convert_hf_to_meta(folders["int-quantized"], tmp_path / "meta")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("width", [64, 200, 1001])
@pytest.mark.parametrize("out", [98, 33])
def test_a_product_is_that_of_the_floats_alone_and_among_others(
    dtype: torch.dtype, width: int, out: int
) -> None:
    torch.manual_seed(1)
    weight = torch.randint(-128, 128, (out, width), dtype=torch.int8)
    scale, bias = torch.rand(out) / width, torch.randn(out)
    linear = Int8Linear(weight, scale, bias.to(dtype))
    x = torch.randn(150, width).to(dtype)
    want = x.float() @ (weight.float() * scale[:, None]).T + bias.to(dtype).float()
    close = 1e-4 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(linear.forward(x).float(), want, atol=close, rtol=close)
    few = linear.forward(x[:64].contiguous())
    torch.testing.assert_close(few.float(), want[:64], atol=close, rtol=close)
    for count in (1, 2, 3, 5, 8, 13, 33):
        assert torch.equal(linear.forward(x[:count].contiguous()), few[:count])
