"""Packed weights are refused with a cure that helps, unless something here reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

from berth.checkpoint import quantised
from berth.checkpoint.errors import ConfigError
from berth.checkpoint.layout import folder_layout


def complaint(method: object, *installed: str, key: str = "quantization_config") -> str | None:
    config = {key: {"quant_method": method}}
    return quantised.complaint(config, lambda module: module in installed)


def test_a_model_that_is_not_packed_is_none_of_its_business() -> None:
    assert quantised.complaint({"model_type": "llama"}) is None
    assert quantised.complaint({"quantization_config": None}) is None


def test_the_packages_that_are_missing_are_named() -> None:
    said = complaint("gptq", "optimum")
    assert said is not None
    assert said.startswith(
        "is quantised with gptq, and what reads that is not installed: pip insta"
    )
    assert "pip install gptqmodel (no extra of Berth brings gptqmodel)" in said
    assert "serve the unquantised model" in said
    both = complaint("gptq")
    assert both is not None
    assert "pip install optimum gptqmodel" in both
    assert complaint("gptq", "optimum", "gptqmodel") is None


@pytest.mark.parametrize("method", ["awq", "bitsandbytes", "compressed-tensors", "hqq", "torchao"])
def test_each_method_that_needs_a_package_is_refused_without_it(method: str) -> None:
    assert f"is quantised with {method}" in str(complaint(method))


def test_what_transformers_unpacks_by_itself_is_not_refused() -> None:
    for method in ("fp8", "mxfp4"):
        assert complaint(method) is None


def test_a_method_that_is_not_known_is_named() -> None:
    assert "quantised with modelopt, which no engine of Berth reads" in str(complaint("modelopt"))
    assert "does not say how" in str(complaint(None))


def test_older_ways_to_say_it_are_understood() -> None:
    assert "with bitsandbytes" in str(
        quantised.complaint({"quantization_config": {"load_in_4bit": True}}, lambda module: False)
    )
    said = complaint("compressed-tensors", key="compression_config")
    assert "compressed-tensors" in str(said)


def test_every_method_of_transformers_is_known() -> None:
    for method in AUTO_QUANTIZER_MAPPING:
        if method != "gguf":
            assert "no engine of Berth reads" not in str(complaint(method)), method


@pytest.mark.parametrize(
    ("file", "method"), [("quantize_config.json", "gptq"), ("quant_config.json", "awq")]
)
def test_a_folder_whose_method_lies_beside_config_json(
    file: str, method: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "model.safetensors").write_bytes(b"x")
    (tmp_path / file).write_text('{"bits": 4}')
    with pytest.raises(ConfigError, match=f"is quantised with {method}, and what reads that is no"):
        folder_layout(tmp_path)
    assert folder_layout(tmp_path, served=False) == "hf"
