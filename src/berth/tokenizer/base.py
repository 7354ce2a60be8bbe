"""What serving asks of a tokeniser, and the small files that lie beside one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from berth.tokenizer.detokenize import Detokenizer

# The formats' own limit is far lower; this keeps a wrong file from filling the memory.
_MAX_FILE_BYTES = 256 * 1024 * 1024


class TokenizerError(Exception):
    """The folder's tokeniser is missing, broken or of a kind we do not read. Names the file."""


class Tokenizer(Protocol):
    """One vocabulary, both ways. Encoding is safe to call from several threads."""

    vocab_size: int
    bos_id: int | None
    eos_ids: tuple[int, ...]  # any of these ends an answer
    special_tokens: Mapping[str, int]  # control tokens by their text ("<s>", "<|im_end|>")
    max_token_bytes: int  # bytes of text that the longest token stands for

    def encode(self, text: str, *, bos: bool) -> list[int]:
        """Encode a user's text: nothing in it becomes a control token.

        Args:
            bos: put in front what the model expects at the beginning of a sequence (for most
                models its bos token; nothing for those that use none).
        """
        ...

    def encode_template(self, text: str) -> list[int]:
        """Encode a rendered template: the control tokens written in it become their ids."""
        ...

    def token_bytes(self, token: int) -> bytes:
        """Bytes of one token on its own, for logprobs; a control token's name."""
        ...

    def detokenizer(self, *, continuation: bool = False) -> Detokenizer:
        """A fresh detokeniser. `continuation`: the text before it is not the empty text."""
        ...


def read_file(path: Path) -> bytes:
    """Read a file that is neither missing, empty nor huge; TokenizerError otherwise."""
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise TokenizerError(f"{path} is larger than {_MAX_FILE_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"{path} cannot be read: {error.strerror}") from error
    if not data:
        raise TokenizerError(f"{path} is empty")
    return data


def read_json(path: Path) -> dict[str, Any]:
    """Read one of a folder's JSON objects; empty if the file is missing.

    Raises:
        TokenizerError: the file is no JSON object.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise TokenizerError(f"{path} should hold a JSON object")
    return value


def tokenizer_config(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json, with the tokens that special_tokens_map.json names.

    Older save_pretrained wrote bos, eos and the like only there. As in transformers the map counts
    first, unless the configuration has added_tokens_decoder, which newer versions write.
    """
    named = read_json(folder / "special_tokens_map.json")
    config = {k: v for k, v in read_json(folder / "tokenizer_config.json").items() if v is not None}
    if "added_tokens_decoder" in config:
        # transformers then leaves the map alone; what is a beginning and an end it may still tell.
        return {k: v for k, v in named.items() if k in ("bos_token", "eos_token")} | config
    return config | named


def added_tokens(folder: Path, config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tokens beside the vocabulary: {"content", "special", "lstrip", …}, in the order in which
    transformers 5.23 adds them (tokenization_utils_tokenizers.py, TokenizersBackend).

    Those of added_tokens_decoder (marked "settings": theirs count), or of added_tokens.json in
    older folders, by their ids; then all that are named as bos, eos and the like; then, marked
    "if_absent", model-specific and additional ones. A name that the vocabulary has already becomes
    a control token of the same id.

    Args:
        config: as `tokenizer_config` gives it.
    """
    named = [_entry(config[key]) for key in SPECIAL_KEYS if config.get(key) is not None]
    more = [_entry(value) for value in (*model_specific(config).values(), *_additional(config))]
    named += [None if entry is None else {**entry, "if_absent": True} for entry in more]
    special = {entry["content"] for entry in named if entry is not None}
    found: dict[int, dict[str, Any]] = {}
    decoder = config.get("added_tokens_decoder")
    if decoder is None:
        for text, token in read_json(folder / "added_tokens.json").items():
            if type(token) is int:
                found[token] = {"id": token, "content": text, "special": text in special}
    for token, entry in decoder.items() if isinstance(decoder, dict) else ():
        if str(token).isdigit() and isinstance(entry, dict):
            content = entry.get("content")
            if isinstance(content, str):
                is_special = bool(entry.get("special")) or content in special
                found[int(token)] = {
                    **entry,
                    "special": is_special,
                    "settings": True,
                    "id": int(token),
                }
    known = {entry["content"] for entry in found.values()}
    result = [found[token] for token in sorted(found)]
    for entry in named:
        if entry is not None and entry["content"] and entry["content"] not in known:
            known.add(entry["content"])
            result.append(entry)
    return result


SPECIAL_KEYS = (
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
)  # fmt: skip


def model_specific(config: Mapping[str, Any]) -> dict[str, Any]:
    """Control tokens with a name of their own ("image_token"), which templates may use."""
    found = {
        key: value
        for key, value in config.items()
        if key.endswith("_token") and key not in SPECIAL_KEYS and special_text(config, key)
    }
    for key in ("extra_special_tokens", "model_specific_special_tokens"):
        if isinstance(more := config.get(key), dict):
            found |= more
    return found


def _additional(config: Mapping[str, Any]) -> list[Any]:
    for key in ("extra_special_tokens", "additional_special_tokens"):
        if isinstance(more := config.get(key), list) and more:
            return more
    return []


def _entry(value: Any) -> dict[str, Any] | None:
    """A named token as an entry of the same form; None for what names none."""
    if isinstance(value, str):
        return {"content": value, "special": True}
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        return {**value, "special": True}
    return None


# The names that transformers 5.23's classes take if no file names any: bos, eos, unk.
_OF_CLASS: Mapping[str, tuple[str | None, str | None, str | None]] = {
    "LlamaTokenizer": ("<s>", "</s>", "<unk>"),
    "CodeLlamaTokenizer": ("<s>", "</s>", "<unk>"),
    "GemmaTokenizer": ("<bos>", "<eos>", "<unk>"),
    "GPT2Tokenizer": ("<|endoftext|>",) * 3,
    "GPTNeoXTokenizer": ("<|endoftext|>",) * 3,
    "Qwen2Tokenizer": (None, "<|endoftext|>", "<|endoftext|>"),
    "Qwen3_5Tokenizer": (None, "<|endoftext|>", "<|endoftext|>"),
    "CohereTokenizer": ("<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>"),
    "XGLMTokenizer": ("<s>", "</s>", "<unk>"),
}


# The class that transformers 5.23 takes for a model_type if tokenizer_config.json names none.
_OF_TYPE: Mapping[str, str] = {
    **dict.fromkeys(
        ("gpt2", "gpt_neo", "gptj", "codegen", "opt", "phi", "starcoder2", "dbrx"), "GPT2Tokenizer"
    ),
    **dict.fromkeys(("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next"), "Qwen2Tokenizer"),
}


def tokenizer_class(folder: Path) -> str:
    """The class of transformers that reads the folder's tokeniser, without "Fast"; or empty."""
    named = read_json(folder / "tokenizer_config.json").get("tokenizer_class")
    named = named or read_json(folder / "config.json").get("tokenizer_class")
    if not isinstance(named, str):
        named = _OF_TYPE.get(str(read_json(folder / "config.json").get("model_type")), "")
    return named.removesuffix("Fast")


def class_defaults(folder: Path) -> dict[str, str]:
    """bos, eos and unk of the tokenizer_class, for those that no file says a word about."""
    config = read_json(folder / "tokenizer_config.json")
    said = config.keys() | read_json(folder / "special_tokens_map.json").keys()
    names = _OF_CLASS.get(tokenizer_class(folder), ())
    pairs = zip(("bos_token", "eos_token", "unk_token"), names, strict=False)
    return {key: name for key, name in pairs if name is not None and key not in said}


def special_text(config: Mapping[str, Any], key: str) -> str | None:
    """The text of a special token in tokenizer_config.json: a string, or an object's content."""
    value = config.get(key)
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def configured_eos_ids(folder: Path) -> list[int]:
    """End-of-sequence ids that generation_config.json and config.json name, in that order."""
    ids: list[int] = []
    for name in ("generation_config.json", "config.json"):
        value = read_json(folder / name).get("eos_token_id")
        for token in value if isinstance(value, list) else [value]:
            if type(token) is int and token >= 0 and token not in ids:
                ids.append(token)
    return ids
