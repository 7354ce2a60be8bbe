"""What serving asks of a tokeniser, and the small files that lie beside one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from berth.serving.detokenize import Detokenizer

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
    """Read one of a folder's JSON objects; empty where the file is missing.

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
    return named | config if "added_tokens_decoder" in config else config | named


def added_tokens(folder: Path, config: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """Tokens beside tokenizer.json, by id: {"content", "special", "lstrip", …}, as transformers
    finds them in added_tokens_decoder, and in added_tokens.json of older folders."""
    found: dict[int, dict[str, Any]] = {}
    named = {text for key in _SPECIAL_KEYS if (text := special_text(config, key)) is not None}
    more = config.get("additional_special_tokens")
    for one in more if isinstance(more, list) else ():
        text = one.get("content") if isinstance(one, dict) else one
        if isinstance(text, str):
            named.add(text)
    for text, token in read_json(folder / "added_tokens.json").items():
        if type(token) is int:
            found[token] = {"content": text, "special": text in named}
    decoder = config.get("added_tokens_decoder")
    for token, entry in decoder.items() if isinstance(decoder, dict) else ():
        if str(token).isdigit() and isinstance(entry, dict):
            content = entry.get("content")
            if isinstance(content, str):
                found[int(token)] = {**entry, "special": bool(entry.get("special"))}
    return sorted(found.items(), key=lambda pair: pair[0])


_SPECIAL_KEYS = (
    "bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token",
)  # fmt: skip


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
