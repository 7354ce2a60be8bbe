"""Fixtures of this room. The helpers beside this file are imported by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tiny_model import hugging_face_folder, meta_folder


@pytest.fixture(scope="session")
def meta_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in Meta's layout with a SentencePiece tokenizer of 400 pieces."""
    return meta_folder(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def hf_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in Hugging Face's layout with a byte-level tokenizer of 400 tokens."""
    return hugging_face_folder(tmp_path_factory.mktemp("models") / "tiny-qwen")
