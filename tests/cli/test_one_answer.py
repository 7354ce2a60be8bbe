"""Fit, serve and the engine say the same of a folder: layout, engine, dtype, bytes, refusal.

BERTH_DRAWS sets how many folders are drawn; the suite takes a few hundred.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from berth.checkpoint.architectures import by_class
from berth.checkpoint.folder import describe, load_config
from berth.checkpoint.numbers import numbers_of
from berth.checkpoint.weight_format import StoredTensor
from berth.cli.model_source import Model, ModelError, open_model
from berth.cli.refused import refuse
from berth.cli.serve import _engine_kind
from berth.fit import FitInputError, FitRequest, fit, own_gpus
from berth.models.weights.names import stored_tensors, tensor_shapes
from berth.protocol.engines import EngineKind
from models.packed import LAYOUTS, quantization

DRAWS = int(os.environ.get("BERTH_DRAWS", "300"))
OPTIONS: dict[str, Any] = {
    "engine": "auto",
    "trust_remote_code": False,
    "disable_trust_remote_code": False,
    "load_in_8bit": False,
    "load_in_4bit": False,
    "degree": 1,
    "nnodes": 1,
}
_INTEGERS = {"int8": ("I8", 1), "int32": ("I32", 4)}
_STORED = {"float32": ("F32", 4), "bfloat16": ("BF16", 2), "float16": ("F16", 2)}

flags = st.booleans()
rope = st.sampled_from(
    [
        None,
        {},
        {"type": "linear", "factor": 2.0},
        {"rope_type": "dynamic", "factor": 2.0},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
        {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]},
        {"full_attention": {"rope_type": "default"}},
        "linear",
    ]
)
KEYS: dict[str, st.SearchStrategy[Any]] = {
    "torch_dtype": st.sampled_from(["float32", "bfloat16", "torch.float16", "auto", "float8", 3]),
    "dtype": st.sampled_from(["float32", "bfloat16", None]),
    "tie_word_embeddings": st.one_of(flags, st.just("no")),
    "attention_bias": flags,
    "mlp_bias": flags,
    "hidden_act": st.sampled_from(["silu", "gelu", "relu2", "gelu_pytorch_tanh", None]),
    "rope_scaling": rope,
    "rope_parameters": rope,
    "rope_theta": st.sampled_from([10000.0, 500000, "10000", 0, None]),
    "partial_rotary_factor": st.sampled_from([1.0, 0.5]),
    "eos_token_id": st.sampled_from([2, [2, 3], "</s>", [[2]], -1, None]),
    "bos_token_id": st.sampled_from([1, [1], [1, 2], None]),
    "sliding_window": st.sampled_from([None, 16, 0]),
    "use_sliding_window": flags,
    "max_window_layers": st.integers(0, 3),
    "layer_types": st.sampled_from(
        [["full_attention"] * 2, ["sliding_attention", "full_attention"], ["x", "y"], []]
    ),
    "head_dim": st.sampled_from([8, 7, None]),
    "max_position_embeddings": st.sampled_from([64, 0, None]),
    "num_key_value_heads": st.sampled_from([1, 2, 3, 4]),
    "quantization_config": st.sampled_from(
        [
            *({"quant_method": q} for q in ("gptq", "awq", "fp8")),
            *(quantization(layout, "lm_head") for layout in LAYOUTS),
            quantization(LAYOUTS[0]),
            quantization(LAYOUTS[1], num_bits=4),
        ]
    ),
    "multi_query": flags,
    "new_decoder_architecture": flags,
    "alibi": flags,
    "bias": flags,
    "vision_config": st.just({"hidden_size": 8}),
}
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 96,
}


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from([*sorted(by_class()), "NewForCausalLM", "BertForMaskedLM"]))
    config: dict[str, Any] = {"architectures": draw(st.sampled_from([[name], name])), **SIZES}
    config |= draw(st.fixed_dictionaries({}, optional=KEYS))
    for key in draw(st.lists(st.sampled_from(sorted(SIZES)), max_size=1)):
        del config[key]
    return config


def write_weights(folder: Path, dtype: str) -> None:
    """What the native engine would read, or a tensor that tells the dtype; zeros, in one file."""
    try:
        config = load_config(folder)
        tensors = stored_tensors(config, tensor_shapes(config))
    except ValueError:
        tensors = {"w": StoredTensor((4, 4))}
    header, at = {}, 0
    for tensor, told in tensors.items():
        name, size = _STORED[dtype] if dtype in told.dtypes else _INTEGERS[min(told.dtypes)]
        for dim in told.shape:
            size *= dim
        header[tensor] = {"dtype": name, "shape": list(told.shape), "data_offsets": [at, at + size]}
        at += size
    content = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(content)) + content)
        file.truncate(8 + len(content) + at)


def served(folder: Path) -> tuple[EngineKind | None, str]:
    """The engine that `berth serve` starts, or None and its refusal."""
    try:
        kind = _engine_kind(folder, OPTIONS)
        refuse(folder, kind, 1)
    except ValueError as error:
        return None, str(error)
    return kind, ""


def fitted(folder: Path) -> tuple[Model | None, str]:
    """What `berth fit` knows of it, or None and its refusal."""
    try:
        return open_model(str(folder)), ""
    except ModelError as error:
        return None, str(error)


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with TemporaryDirectory() as path:
        yield Path(path)


@given(config=configs(), dtype=st.sampled_from(sorted(_STORED)), meta=st.integers(0, 9))
@settings(
    max_examples=DRAWS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_all_say_the_same_of_a_folder(
    config: dict[str, Any], dtype: str, meta: int, root: Path
) -> None:
    folder = root / "model"
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    (folder / "config.json").write_text(json.dumps(config))
    if meta == 0:  # params.json lies there too; the weights decide
        (folder / "params.json").write_text(json.dumps({"dim": 32, "n_heads": 4, "n_layers": 2}))
    if meta != 1:
        write_weights(folder, dtype)
    kind, refusal = served(folder)
    model, said = fitted(folder)
    if model is None:
        if kind is None:
            assert refusal in said or "no weights" in refusal
        else:
            # transformers may fill in what a size needs; fit does not guess.
            assert kind == "transformers"
            assert describe(folder).numbers is None
        return
    if kind is None:
        assert "no weights" in refusal, "fit answers for a description alone"
        return
    assert model.engine == kind
    try:
        asked = FitRequest(
            model=model.numbers,
            machine=own_gpus("H200", 1),
            engine=kind,
            stored_bytes=model.stored_bytes,
        )
    except FitInputError as error:
        raise AssertionError("the engine starts, and fit refuses the question") from error
    if kind == "native":
        engine = load_config(folder)
        assert numbers_of(engine) == model.numbers
        assert engine.dtype == model.numbers.dtype
        alone, read = fit(replace(asked, stored_bytes=None)), fit(asked)
        if alone.worst is not None and read.worst is not None:
            assert alone.worst.of("weights") == read.worst.of("weights")
