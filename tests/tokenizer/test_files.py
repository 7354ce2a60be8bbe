"""The right tokeniser is found in a folder, or the folder is refused with a reason."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest

from berth.tokenizer.base import TokenizerError
from berth.tokenizer.files import load_tokenizer
from berth.tokenizer.huggingface import HuggingFaceTokenizer
from berth.tokenizer.sentencepiece import SentencePieceTokenizer
from serving.tiny_model import byte_level_tokenizer

TIKTOKEN = b"".join(base64.b64encode(bytes([byte])) + f" {byte}\n".encode() for byte in range(256))


@pytest.fixture
def folder(tmp_path: Path, meta_model: Path) -> Path:
    return Path(shutil.copytree(meta_model, tmp_path / "model"))


def test_a_meta_folder_is_read_by_sentencepiece(folder: Path) -> None:
    byte_level_tokenizer().save(str(folder / "tokenizer.json"))
    assert isinstance(load_tokenizer(folder), SentencePieceTokenizer)


def test_a_hugging_face_folder_is_read_from_tokenizer_json(folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    assert isinstance(load_tokenizer(folder), SentencePieceTokenizer)
    byte_level_tokenizer().save(str(folder / "tokenizer.json"))
    assert isinstance(load_tokenizer(folder), HuggingFaceTokenizer)


def test_a_file_elsewhere_may_be_named(folder: Path, hf_model: Path) -> None:
    assert isinstance(load_tokenizer(folder, hf_model / "tokenizer.json"), HuggingFaceTokenizer)


def test_a_folder_without_a_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.model").unlink()
    with pytest.raises(TokenizerError, match=r"has no tokenizer\.model and no tokenizer\.json"):
        load_tokenizer(folder)


def test_llama_3s_tiktoken_file_is_refused_with_advice(folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(TIKTOKEN)
    with pytest.raises(TokenizerError, match=r"tiktoken's format .* tokenizer\.json"):
        load_tokenizer(folder)


def test_beside_a_tiktoken_file_tokenizer_json_is_read(folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(TIKTOKEN)
    byte_level_tokenizer().save(str(folder / "tokenizer.json"))
    assert isinstance(load_tokenizer(folder), HuggingFaceTokenizer)


def test_an_empty_file_is_refused(folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(b"")
    with pytest.raises(TokenizerError, match="is empty"):
        load_tokenizer(folder)


def test_broken_configuration_is_refused_by_name(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(TokenizerError, match=r"config\.json is not valid JSON"):
        load_tokenizer(folder)
