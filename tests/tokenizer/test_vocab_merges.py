"""A tokenizer of vocab.json and merges.txt is the one that transformers makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from berth.tokenizer.base import TokenizerError
from berth.tokenizer.files import load_tokenizer
from serving.tiny_model import byte_level_tokenizer

TEXTS = [
    "Hello world, the quay isn't 12345 metres\n\n  wide  ",
    "  caf\u0065\u0301 \u4f60\u597d\t<|endoftext|> x",
    "",
    "a<|new|>b<|endoftext|>",
]


def write(folder: Path, config: dict[str, Any], **tokenizer: Any) -> Path:
    content = json.loads(byte_level_tokenizer().to_str())["model"]
    vocab = content["vocab"] | {"<|endoftext|>": len(content["vocab"])}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    lines = [pair if isinstance(pair, str) else " ".join(pair) for pair in content["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines]) + "\n")
    (folder / "config.json").write_text(json.dumps(config))
    if tokenizer:
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gpt2": ({"model_type": "gpt2"}, {}),
    "opt": ({"model_type": "opt"}, {"tokenizer_class": "GPT2Tokenizer"}),
    "a space in front": (
        {"model_type": "gpt2"}, {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True},
    ),
    "qwen2": ({"model_type": "qwen2"}, {"tokenizer_class": "Qwen2Tokenizer"}),
    "qwen3 by its type": ({"model_type": "qwen3"}, {}),
    "bos named": (
        {"model_type": "gpt2"},
        {"tokenizer_class": "GPT2TokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "the"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_ids_are_those_of_autotokenizer(kind: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    config, tokenizer = KINDS[kind]
    folder = write(tmp_path, config, **tokenizer)
    found, reference = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        assert found.encode_template(text) == reference.encode(text, add_special_tokens=False)
    assert found.bos_id == reference.bos_token_id
    assert found.eos_ids == (reference.eos_token_id,)
    text = TEXTS[0].strip()
    detokenizer = found.detokenizer()
    ids = found.encode(text, bos=False)
    assert ("".join(map(detokenizer.feed, ids)) + detokenizer.flush()).strip() == text


def test_a_class_that_splits_otherwise_is_refused_with_the_way_out(tmp_path: Path) -> None:
    folder = write(tmp_path, {"model_type": "x"}, tokenizer_class="OddTokenizer")
    with pytest.raises(TokenizerError, match=r"OddTokenizer is not built .*save_pretrained"):
        load_tokenizer(folder)


def test_broken_files_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path, {"model_type": "gpt2"})
    (folder / "vocab.json").write_text("{")
    with pytest.raises(TokenizerError, match=r"vocab\.json and merges\.txt cannot be read"):
        load_tokenizer(folder)
