"""Control tokens are found wherever transformers finds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from berth.tokenizer.files import load_tokenizer
from serving.tiny_model import byte_level_tokenizer


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


def _token(content: str, special: bool = True, **flags: bool) -> dict[str, Any]:
    return NEW | {"content": content, "special": special} | flags


def _added(content: str) -> dict[str, Any]:
    """As save_pretrained of transformers 4 wrote a token's settings."""
    return {"__type": "AddedToken"} | NEW | {"content": content, "normalized": True}


END = {"eos_token": "<|im_end|>"}
# Each a folder's files; an id of N stands for the first free one.
KINDS: dict[str, dict[str, Any]] = {
    "named as text": {"tokenizer_config": END | {"bos_token": "<|bos|>"}},
    "named as objects": {
        "tokenizer_config": {"bos_token": _added("<|bos|>"), "eos_token": _added("<|im_end|>")}
    },
    "in the map as objects": {
        "tokenizer_config": {},
        "special_tokens_map": {"bos_token": _added("<|bos|>"), "eos_token": _added("<|im_end|>")},
    },
    "null in the configuration, named in the map": {
        "tokenizer_config": {"eos_token": None}, "special_tokens_map": END,
    },
    "null": {"tokenizer_config": END | {"bos_token": None}},
    "none named": {"tokenizer_config": {}},
    "no configuration": {},
    "in the decoder": {
        "tokenizer_config": {"eos_token": "<|new|>", "added_tokens_decoder": {"N": NEW}}
    },
    "in the decoder behind a gap": {
        "tokenizer_config": {"eos_token": "<|new|>", "added_tokens_decoder": {"N+3": NEW}}
    },
    "in the decoder with settings": {
        "tokenizer_config": END
        | {"added_tokens_decoder": {"N": _token("<|new|>", lstrip=True, rstrip=True)}}
    },
    "in the decoder without settings": {
        "tokenizer_config": END
        | {"added_tokens_decoder": {"N": {"content": "<|new|>", "special": True}}}
    },
    "a word in the decoder": {
        "tokenizer_config": END | {"added_tokens_decoder": {"N": _token("<|new|>", False)}}
    },
    "a word of tokenizer.json, special in the decoder": {
        "tokenizer_config": END | {"added_tokens_decoder": {"N-1": _token("<think>")}}
    },
    "named as the end, a word in the decoder": {
        "tokenizer_config": END | {"added_tokens_decoder": {"2": _token("<|im_end|>", False)}}
    },
    "in added_tokens.json": {
        "tokenizer_config": {"eos_token": "<|new|>"},
        "added_tokens": {"<|new|>": "N", "<w>": "N+1"},
    },
    "in added_tokens.json, unnamed": {
        "tokenizer_config": END, "added_tokens": {"<|new|>": "N", "<|extra|>": "N+1"},
    },
    "in both, the decoder counts": {
        "tokenizer_config": {"eos_token": "<|new|>", "added_tokens_decoder": {"N": NEW}},
        "added_tokens": {"<|extra|>": "N+1"},
    },
    "additional, absent": {"tokenizer_config": END | {"additional_special_tokens": ["<|extra|>"]}},
    "additional in the map": {
        "tokenizer_config": {},
        "special_tokens_map": END | {"additional_special_tokens": ["<|new|>"]},
    },
    "additional, a word of tokenizer.json": {
        "tokenizer_config": END | {"additional_special_tokens": ["<think>", "<|im_start|>"]}
    },
    "extra": {"tokenizer_config": END | {"extra_special_tokens": ["<|extra|>"]}},
    "extra by name": {"tokenizer_config": END | {"extra_special_tokens": {"image": "<|extra|>"}}},
    "with a name of its own": {"tokenizer_config": END | {"image_token": "<|extra|>"}},
    "the end is in no vocabulary": {
        "tokenizer_config": {"eos_token": "<|new|>", "bos_token": "<|extra|>"}
    },
    "pad and unk are in no vocabulary": {
        "tokenizer_config": END | {"pad_token": "<pad>", "unk_token": "<unk>"}
    },
}  # fmt: skip
TEXTS = [
    "Hello world, the end",
    "<|im_start|>user\nhi<|im_end|>",
    "x<|new|>y <|extra|> <think>z</think> <w> <pad><unk>",
    "a <|new|> b",
]


def _numbered(value: Any) -> Any:
    """The files of a kind, with the first free id in place of N."""
    ids = {"N": _size(), "N-1": _size() - 1, "N+1": _size() + 1, "N+3": _size() + 3}
    if isinstance(value, dict):
        return {
            str(ids.get(key, key)): ids.get(one, one) if isinstance(one, str) else _numbered(one)
            for key, one in value.items()
        }
    return value


@pytest.mark.parametrize("kind", KINDS)
def test_control_tokens_are_those_of_autotokenizer(kind: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = _folder(tmp_path, **_numbered(KINDS[kind]))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    found, reference = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    assert found.bos_id == reference.bos_token_id
    end = reference.eos_token_id
    assert found.eos_ids == (() if end is None else (end,))
    for text in TEXTS:
        assert found.encode_template(text) == reference.encode(text, add_special_tokens=False)
    special = {str(t): i for i, t in reference.added_tokens_decoder.items() if t.special}
    assert found.special_tokens == special
    for text in TEXTS:
        inside = set(found.encode(text, bos=False)) & set(special.values())
        assert not inside, "in a user's text it stays text"


@pytest.mark.parametrize(
    ("name", "bos", "eos"),
    [("LlamaTokenizer", "<s>", "</s>"), ("CodeLlamaTokenizerFast", "<s>", "</s>"),
     ("GemmaTokenizerFast", "<bos>", "<eos>"), ("Qwen2Tokenizer", None, "<|endoftext|>"),
     ("GPT2TokenizerFast", "<|endoftext|>", "<|endoftext|>"),
     ("GPTNeoXTokenizerFast", "<|endoftext|>", "<|endoftext|>"),
     ("PreTrainedTokenizerFast", None, None)],
)  # fmt: skip
def test_what_no_file_names_the_class_does(
    name: str, bos: str | None, eos: str | None, tmp_path: Path
) -> None:
    folder = _folder(tmp_path, tokenizer_config={"tokenizer_class": name})
    tokenizer = byte_level_tokenizer()
    tokenizer.add_special_tokens([*dict.fromkeys(t for t in (bos, eos) if t)])
    tokenizer.save(str(folder / "tokenizer.json"))
    found = load_tokenizer(folder)
    assert found.bos_id == (None if bos is None else tokenizer.token_to_id(bos))
    assert found.eos_ids == (() if eos is None else (tokenizer.token_to_id(eos),))


def test_a_class_without_its_token_in_the_vocabulary_has_none(tmp_path: Path) -> None:
    found = load_tokenizer(
        _folder(tmp_path, tokenizer_config={"tokenizer_class": "LlamaTokenizer"})
    )
    assert (found.bos_id, found.eos_ids) == (None, ())


def test_the_classes_names_are_transformers() -> None:
    import inspect

    import transformers

    from berth.tokenizer.base import _OF_CLASS

    for name, names in _OF_CLASS.items():
        parameters = inspect.signature(getattr(transformers, name).__init__).parameters
        keys = ("bos_token", "eos_token", "unk_token")
        defaults = tuple(parameters[key].default for key in keys)
        assert tuple(None if d is None else str(d) for d in defaults) == names, name
