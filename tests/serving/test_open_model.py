"""A folder is opened for serving, with the template that fits it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_model import byte_level_tokenizer

from berth.protocol.config import EngineConfig
from berth.serving.launch import LaunchConfig
from berth.serving.open_model import ServingConfig, open_model
from berth.tokenizer.base import TokenizerError


def opened(folder: Path, **settings: Any) -> ServingConfig:
    return open_model(EngineConfig(model=str(folder), socket=""), model_id="m", **settings)


def test_metas_layout_means_llama_2s_format(meta_model: Path) -> None:
    assert opened(meta_model).template.name == "llama-2"


def test_a_hugging_face_folder_brings_its_own(hf_model: Path) -> None:
    assert opened(hf_model).template.name == "jinja"


def test_a_hugging_face_folder_without_one_gets_the_plain_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    byte_level_tokenizer().save(str(tmp_path / "tokenizer.json"))
    assert opened(tmp_path).template.name == "plain"


@pytest.mark.parametrize("name", ["llama-2", "plain", "jinja"])
def test_a_template_may_be_named(hf_model: Path, name: str) -> None:
    assert opened(hf_model, template=name).template.name == name


def test_a_template_that_there_is_not_is_refused(hf_model: Path, meta_model: Path) -> None:
    with pytest.raises(TokenizerError, match=r"should be one of .*llama-2, .*plain"):
        opened(hf_model, template="llama-7")
    with pytest.raises(TokenizerError, match="no chat template of its own"):
        opened(meta_model, template="jinja")


def test_the_tokenizer_may_lie_elsewhere(tmp_path: Path, meta_model: Path) -> None:
    engine = EngineConfig(model=str(tmp_path), socket="")
    elsewhere = str(meta_model / "tokenizer.model")
    assert open_model(engine, model_id="m", tokenizer=elsewhere).tokenizer.bos_id == 1


def test_a_missing_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="nowhere is not a folder"):
        opened(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_waiting": -1}, "max_waiting is -1"),
        ({"request_timeout": 0.0}, r"request_timeout is 0\.0"),
        ({"request_timeout": float("nan")}, "request_timeout is nan"),
        (
            {"launch": LaunchConfig(nnodes=2, master_addr="a", master_port=1)},
            "degree 1 should be a multiple of 2 nodes",
        ),
    ],
)
def test_numbers_out_of_range_are_refused(
    meta_model: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        opened(meta_model, **settings)
