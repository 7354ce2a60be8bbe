"""`berth serve` reads the headers of a folder once, whatever of it is asked for in turn."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from berth.checkpoint import header_file, stored
from berth.checkpoint.choose import engine_for
from berth.checkpoint.folder import describe, load_config
from berth.cli.degree import automatic_degree
from berth.cli.refused import refuse
from berth.models.weights.folder import open_weights
from models.checkpoints import save_transformers

FILES = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Llama in two files, whose output head is its own though config.json calls it tied."""
    save_transformers(tmp_path, "llama", seed=3, tie_word_embeddings=True)
    whole = tmp_path / "model.safetensors"
    tensors = load_file(whole)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + 1
    whole.unlink()
    for at, name in enumerate(FILES):
        part = {key: tensors[key] for key in sorted(tensors)[at::2]}
        save_file(part, tmp_path / name, metadata={"format": "pt"})
        os.utime(tmp_path / name, (1_000_000_000, 1_000_000_000))
    return tmp_path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What was read: headers, and comparisons of two tensors' bytes."""
    found: Counter[str] = Counter()

    def counted(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*args: Any) -> Any:
            found[name] += 1
            return real(*args)

        monkeypatch.setattr(module, name, call)

    counted(header_file, "parse_header")
    counted(stored, "_same_bytes")
    header_file.forget_headers()
    return found


def test_the_engines_choice_the_degree_and_the_refusal_share_one_reading(
    folder: Path, read: Counter[str]
) -> None:
    choice = engine_for(describe(folder))
    degree = automatic_degree(folder, 2)
    refuse(folder, choice.engine, degree)
    assert (choice.engine, degree) == ("native", 2)
    assert read == {"parse_header": len(FILES), "_same_bytes": 1}


def test_the_engine_reads_them_once_too_and_keeps_none(folder: Path, read: Counter[str]) -> None:
    assert not load_config(folder).tie_embeddings
    source = open_weights(folder)
    assert read == {"parse_header": len(FILES), "_same_bytes": 1}
    assert torch.equal(source.read("lm_head.weight"), source.read("model.embed_tokens.weight") + 1)
    assert not header_file._KEPT
    source.close()
