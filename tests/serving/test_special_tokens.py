"""Control tokens are found wherever transformers finds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_model import byte_level_tokenizer

from berth.serving.tokenizer_files import load_tokenizer


def _folder(path: Path, **files: Any) -> Path:
    byte_level_tokenizer().save(str(path / "tokenizer.json"))
    (path / "config.json").write_text("{}")
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


def _reference(folder: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder)


NEW = {"content": "<|new|>", "special": True, "lstrip": False, "rstrip": False,
       "single_word": False, "normalized": False}  # fmt: skip


def _size() -> int:
    return int(byte_level_tokenizer().get_vocab_size(with_added_tokens=True))


@pytest.mark.parametrize("where", ["tokenizer_config", "special_tokens_map"])
@pytest.mark.parametrize("as_object", [False, True])
def test_bos_and_eos_are_found_in_either_file(tmp_path: Path, where: str, as_object: bool) -> None:
    names = {"bos_token": "<|bos|>", "eos_token": "<|im_end|>"}
    token = {"__type": "AddedToken"} | NEW
    said = {key: token | {"content": text} if as_object else text for key, text in names.items()}
    found = load_tokenizer(_folder(tmp_path, **{where: said}))
    reference = _reference(tmp_path)
    assert found.bos_id == reference.bos_token_id is not None
    assert found.eos_ids == (reference.eos_token_id,)


@pytest.mark.parametrize("newer", [False, True])
def test_where_both_files_name_a_token_transformers_choice_is_taken(
    tmp_path: Path, newer: bool
) -> None:
    decoder = {"added_tokens_decoder": {str(_size()): NEW}} if newer else {}
    folder = _folder(
        tmp_path,
        tokenizer_config={"eos_token": "<|im_end|>"} | decoder,
        special_tokens_map={"eos_token": "<|bos|>"},
    )
    assert load_tokenizer(folder).eos_ids == (_reference(folder).eos_token_id,)


def test_a_control_token_that_only_tokenizer_config_has_is_one(tmp_path: Path) -> None:
    config = {"added_tokens_decoder": {str(_size()): NEW}, "eos_token": "<|new|>"}
    folder = _folder(tmp_path, tokenizer_config=config)
    found, reference = load_tokenizer(folder), _reference(folder)
    token = reference.convert_tokens_to_ids("<|new|>")
    assert found.special_tokens["<|new|>"] == token == _size()
    assert found.eos_ids == (token,)
    assert found.encode_template("a<|new|>b") == reference.encode("a<|new|>b")
    assert token not in found.encode("a<|new|>b", bos=False), "in a user's text it stays text"


def test_a_control_token_of_added_tokens_json_is_one_if_it_is_named(tmp_path: Path) -> None:
    folder = _folder(
        tmp_path,
        added_tokens={"<|new|>": _size()},
        special_tokens_map={"eos_token": "<|new|>"},
    )
    found = load_tokenizer(folder)
    assert found.special_tokens["<|new|>"] == _size()
    assert found.eos_ids == (_size(),)


def test_an_added_word_that_is_no_control_token_stays_text(tmp_path: Path) -> None:
    folder = _folder(tmp_path, added_tokens={"<word>": _size()})
    found = load_tokenizer(folder)
    assert "<word>" not in found.special_tokens
    assert found.token_bytes(_size()) == b"<word>"
