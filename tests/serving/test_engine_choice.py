"""The engine of a folder: by its config.json, unless its weights are Meta's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from berth.checkpoint.choose import UnknownArchitecture
from berth.serving.engine_choice import engine_of_folder
from berth.serving.tokenizer import TokenizerError


def write(folder: Path, *files: str, architecture: str = "GPT2LMHeadModel") -> Path:
    for name in files:
        content = json.dumps({"architectures": [architecture]}) if name == "config.json" else ""
        (folder / name).write_text(content)
    return folder


def test_a_hugging_face_folder_is_decided_by_its_architecture(tmp_path: Path) -> None:
    assert engine_of_folder(write(tmp_path, "config.json", "model.safetensors")) == "transformers"
    write(tmp_path, "config.json", architecture="FalconForCausalLM")
    assert engine_of_folder(tmp_path) == "native"
    assert engine_of_folder(tmp_path, "transformers") == "transformers"


def test_metas_weights_are_native_whatever_lies_beside_them(tmp_path: Path) -> None:
    write(tmp_path, "params.json", "consolidated.00.pth", "config.json")
    assert engine_of_folder(tmp_path) == "native"
    with pytest.raises(UnknownArchitecture, match="Meta's"):
        engine_of_folder(tmp_path, "transformers")


def test_a_folder_with_both_is_hugging_faces(tmp_path: Path) -> None:
    write(tmp_path, "params.json", "config.json", "model-00001-of-00002.safetensors")
    assert engine_of_folder(tmp_path) == "transformers"


def test_a_broken_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(TokenizerError, match=r"config\.json is not valid JSON"):
        engine_of_folder(tmp_path)
