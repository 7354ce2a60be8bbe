"""Hugging Face's tokenizer.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from berth.tokenizer.base import TokenizerError
from berth.tokenizer.huggingface import HuggingFaceTokenizer
from serving.tiny_model import byte_level_tokenizer, llama_tokenizer
from tokenizer.test_detokenize import BYTE_LEVEL, LLAMA, SENTENCEPIECE


def load(tokenizer: Tokenizer, folder: Path, **config: Any) -> HuggingFaceTokenizer:
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return HuggingFaceTokenizer(folder / "tokenizer.json", tokenizer.to_str().encode(), folder)


def test_special_tokens_in_a_users_text_stay_text() -> None:
    tokens = BYTE_LEVEL.encode("<|im_end|>hi<|bos|>", bos=False)
    assert not set(BYTE_LEVEL.special_tokens.values()) & set(tokens)
    assert BYTE_LEVEL._safe.decode(tokens) == "<|im_end|>hi<|bos|>"


def test_special_tokens_of_a_template_become_their_ids() -> None:
    tokens = BYTE_LEVEL.encode_template("<|im_start|>hi<|im_end|>")
    assert (tokens[0], tokens[-1]) == (1, 2)
    assert tokens[1:-1] == BYTE_LEVEL.encode("hi", bos=False)


@settings(max_examples=15)
@given(st.text(max_size=20).map(lambda text: text * 2000))
def test_a_large_text_is_encoded_as_a_small_one_is(text: str) -> None:
    assert BYTE_LEVEL.encode(text, bos=False) == BYTE_LEVEL._safe.encode(text).ids


def test_the_beginning_follows_the_post_processor(tmp_path: Path) -> None:
    assert load(llama_tokenizer(), tmp_path).encode("a", bos=True)[0] == 1
    assert load(byte_level_tokenizer(), tmp_path).encode("a", bos=True) == BYTE_LEVEL.encode(
        "a", bos=False
    )


@pytest.mark.parametrize(("add_bos", "begins"), [(True, True), (False, False)])
def test_the_beginning_follows_the_configuration(
    tmp_path: Path, add_bos: bool, begins: bool
) -> None:
    for make, bos in ((llama_tokenizer, "<s>"), (byte_level_tokenizer, "<|bos|>")):
        tokenizer = load(make(), tmp_path, bos_token=bos, add_bos_token=add_bos)
        assert (tokenizer.encode("a", bos=True)[0] == tokenizer.bos_id) == begins
        assert tokenizer.encode("a", bos=False)[0] != tokenizer.bos_id


def test_any_end_that_the_folder_names_ends_an_answer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"eos_token_id": 5}')
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 5]}')
    tokenizer = load(byte_level_tokenizer(), tmp_path, eos_token={"content": "<|im_end|>"})
    assert tokenizer.eos_ids == (7, 5, 2)


def test_truncation_and_padding_left_over_from_training_are_off(tmp_path: Path) -> None:
    trained = byte_level_tokenizer()
    trained.enable_truncation(4)
    trained.enable_padding(length=64)
    assert load(trained, tmp_path).encode("Hello world " * 9, bos=False) == BYTE_LEVEL.encode(
        "Hello world " * 9, bos=False
    )


@given(st.text(alphabet="Helo wrd123", max_size=20))
def test_llamas_two_formats_encode_alike(text: str) -> None:
    if text:  # tokenizers prepends the space to nothing too
        assert LLAMA.encode(text, bos=True) == SENTENCEPIECE.encode(text, bos=True)


def test_a_tokens_bytes_are_its_own() -> None:
    euro = [BYTE_LEVEL.token_bytes(token) for token in BYTE_LEVEL.encode(" €", bos=False)]
    assert b"".join(euro) == " €".encode()
    assert BYTE_LEVEL.token_bytes(2) == b"<|im_end|>"
    assert LLAMA.token_bytes(3 + 0xE2) == b"\xe2"


@pytest.mark.parametrize("data", [b"{}", b"[1", b'{"model": {"type": "Nothing"}}'])
def test_a_file_that_is_no_tokenizer_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(TokenizerError, match=r"folder/tokenizer\.json is not"):
        HuggingFaceTokenizer(Path("folder/tokenizer.json"), data, Path("folder"))
