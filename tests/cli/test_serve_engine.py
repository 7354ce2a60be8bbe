"""Which engine `berth serve` starts, and what it refuses before it starts any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from berth.cli import serve as command
from berth.protocol.config import EngineConfig
from models.checkpoints import tiny_config, write_hf
from serving.tiny_model import hugging_face_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = hugging_face_folder(tmp_path / "model")
    (path / "config.json").write_text(json.dumps({"architectures": ["GPT2LMHeadModel"]}))
    save_file({"wte.weight": torch.zeros(1)}, path / "model.safetensors")
    return path


def engine_config(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> EngineConfig:
    """What would be handed to the engine."""
    seen: list[Any] = []

    async def fake(serving: Any, *_: Any) -> int:
        seen.append(serving)
        return 0

    monkeypatch.setattr(command, "_serve", fake)
    done = CliRunner().invoke(command.serve, [str(folder), *arguments])
    assert done.exit_code == 0, done.output
    config = seen[0].engine
    assert isinstance(config, EngineConfig)
    return config


def refusal(folder: Path, *arguments: str) -> str:
    done = CliRunner().invoke(command.serve, [str(folder), *arguments])
    assert done.exit_code == 2
    return " ".join(done.output.split())


def test_an_unknown_architecture_is_transformers_and_trusts_nobody(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    config = engine_config(monkeypatch, folder)
    assert config.engine == "transformers"
    assert not config.trust_remote_code
    assert not config.load_in_8bit
    assert not config.load_in_4bit
    assert config.device_map == "auto"


def test_the_owner_overrides(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    flags = ["--trust-remote-code", "--load_in_8bit", "--device-map", "balanced"]
    config = engine_config(monkeypatch, folder, *flags)
    assert (config.trust_remote_code, config.load_in_8bit) == (True, True)
    assert config.device_map == "balanced"
    write_hf(folder, tiny_config())
    assert engine_config(monkeypatch, folder).engine == "native"
    assert engine_config(monkeypatch, folder, "--load-in-4bit").engine == "transformers"
    chosen = engine_config(monkeypatch, folder, "--engine", "transformers")
    assert chosen.engine == "transformers"


def test_kaitos_own_flag_is_taken(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    assert not engine_config(monkeypatch, folder, "--disable_trust_remote_code").trust_remote_code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine", "native"], "does not know GPT2LMHeadModel; it knows"),
        (["--engine", "native"], "Use --engine transformers"),
        (["--load-in-8bit", "--load-in-4bit"], "exclude each other"),
        (["--trust-remote-code", "--disable_trust_remote_code"], "exclude each other"),
        (["--degree", "2"], "transformers engine is one process on one node"),
    ],
)
def test_contradictions_are_refused(folder: Path, arguments: list[str], said: str) -> None:
    assert said in refusal(folder, *arguments)
