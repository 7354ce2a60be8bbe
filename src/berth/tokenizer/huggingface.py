"""Hugging Face's tokenizer.json, read by the tokenizers library."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import tokenizers

from berth.tokenizer.base import (
    TokenizerError,
    added_tokens,
    class_defaults,
    configured_eos_ids,
    special_text,
    tokenizer_config,
)
from berth.tokenizer.detokenize import (
    ByteLevelDetokenizer,
    Detokenizer,
    PieceDetokenizer,
    PieceRules,
    WindowDetokenizer,
)

_SPACE = "\u2581"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
# `encode` holds the interpreter's lock; the batch form does not, but costs more to call.
_LARGE_CHARACTERS = 16 * 1024
# One text is one thread's work: without this the library starts a pool of a thread for each CPU.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


class _File(msgspec.Struct):
    """The part of tokenizer.json that the library does not show."""

    decoder: dict[str, Any] | None = None

    def steps(self) -> list[dict[str, Any]]:
        decoder = self.decoder or {}
        return decoder["decoders"] if decoder.get("type") == "Sequence" else [decoder]


class HuggingFaceTokenizer:
    """A tokenizer.json with the beginning-of-sequence rule of tokenizer_config.json."""

    def __init__(self, path: Path, data: bytes, folder: Path) -> None:
        # Two of them: whether control tokens are recognised is a setting of the whole object.
        self._safe = _parse(path, data)
        self._safe.encode_special_tokens = True
        self._template = _parse(path, data)
        config = tokenizer_config(folder)
        known = self._safe.get_vocab(with_added_tokens=True)
        config |= {key: t for key, t in class_defaults(folder).items() if t in known}
        for one in (self._safe, self._template):
            _add_tokens(one, added_tokens(folder, config))
        self._vocab = self._safe.get_vocab(with_added_tokens=True)
        self.vocab_size = max(self._vocab.values()) + 1
        added = self._safe.get_added_tokens_decoder()
        self.special_tokens: Mapping[str, int] = {
            t.content: i for i, t in added.items() if t.special
        }

        self.bos_id = self._vocab.get(special_text(config, "bos_token") or "")
        eos = self._vocab.get(special_text(config, "eos_token") or "")
        named = configured_eos_ids(folder) + ([] if eos is None else [eos])
        self.eos_ids = tuple(dict.fromkeys(named))
        self._prefix = self._beginning(config.get("add_bos_token"))

        steps = msgspec.json.decode(data, type=_File).steps()
        self._bytes = self._token_bytes(steps)
        self.max_token_bytes = max(map(len, self._bytes))
        self._byte_table = self._silenced() if _is_byte_level(steps) else None
        self._rules = self._piece_rules(steps)

    def _beginning(self, add_bos: object) -> list[int]:
        """Ids before a text: as the configuration says, else as the post-processor does."""
        if add_bos is False:
            return []
        bare = self._safe.encode("a", add_special_tokens=False).ids
        whole = self._safe.encode("a", add_special_tokens=True).ids
        starts = (i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
        prefix = whole[: next(starts, 0)]
        if add_bos is True and not prefix and self.bos_id is not None:
            return [self.bos_id]
        return prefix

    def _token_bytes(self, steps: list[dict[str, Any]]) -> list[bytes]:
        """What each id stands for, in bytes; special tokens as they are written."""
        table = [b""] * self.vocab_size
        to_byte = _byte_level_alphabet() if _is_byte_level(steps) else {}
        for text, token in self._vocab.items():
            byte_token = _BYTE_TOKEN.fullmatch(text)
            if to_byte:
                known = all(char in to_byte for char in text)
                table[token] = bytes(to_byte[c] for c in text) if known else text.encode()
            elif byte_token:
                table[token] = bytes((int(byte_token[1], 16),))
            else:
                table[token] = text.replace(_SPACE, " ").encode()
        return table

    def _silenced(self) -> list[bytes]:
        """The table for output, in which special tokens have no text."""
        table = list(self._bytes)
        for token in self.special_tokens.values():
            table[token] = b""
        return table

    def _piece_rules(self, steps: list[dict[str, Any]]) -> PieceRules | None:
        """Rules of the decoder that Llama 2's and Mistral's files have; None for any other."""
        kinds = [step.get("type") for step in steps]
        replace = {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
        strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        if kinds[:3] != ["Replace", "ByteFallback", "Fuse"] or steps[0] != replace:
            return None
        if steps[3:] not in ([], [strip]):
            return None
        table: list[str | int] = [""] * self.vocab_size
        for text, token in self._vocab.items():
            byte_token = _BYTE_TOKEN.fullmatch(text)
            table[token] = int(byte_token[1], 16) if byte_token else text.replace(_SPACE, " ")
        for token in self.special_tokens.values():
            table[token] = ""
        return PieceRules(table, strips_space=bool(steps[3:]), strips_bytes=True)

    def encode(self, text: str, *, bos: bool) -> list[int]:
        ids = _encode(self._safe, text)
        return self._prefix + ids if bos else ids

    def encode_template(self, text: str) -> list[int]:
        return _encode(self._template, text)

    def token_bytes(self, token: int) -> bytes:
        return self._bytes[token] if 0 <= token < self.vocab_size else b""

    def detokenizer(self, *, continuation: bool = False) -> Detokenizer:
        if self._byte_table is not None:
            return ByteLevelDetokenizer(self._byte_table)
        if self._rules is not None:
            return PieceDetokenizer(self._rules, continuation=continuation)
        return WindowDetokenizer(self._safe.decode)


def _parse(path: Path, data: bytes) -> tokenizers.Tokenizer:
    try:
        tokenizer = tokenizers.Tokenizer.from_buffer(data)
    except Exception as error:  # the library raises the bare class
        raise TokenizerError(f"{path} is not a tokenizer.json we can read: {error}") from error
    # Settings of training that some files carry along; they would cut a prompt in silence.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


_FLAGS = ("lstrip", "rstrip", "single_word", "normalized")


def _add_tokens(tokenizer: tokenizers.Tokenizer, tokens: list[dict[str, Any]]) -> None:
    """Add those that tokenizer.json does not have as added tokens, or has with other settings."""
    known = {token.content: token for token in tokenizer.get_added_tokens_decoder().values()}
    for entry in tokens:
        text, special = entry["content"], entry["special"]
        if text in known and entry.get("if_absent"):
            continue  # <think> may be named among the additional ones, and is shown all the same
        # A named token stays as the file has it; only a list with settings changes them.
        settings: Any = entry
        if text in known and not entry.get("settings"):
            if known[text].special >= special:
                continue
            settings = {flag: getattr(known[text], flag) for flag in _FLAGS}
        flags = {flag: bool(settings[flag]) for flag in _FLAGS if settings.get(flag) is not None}
        tokenizer.add_tokens([tokenizers.AddedToken(text, special=special, **flags)])


def _encode(tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    if len(text) < _LARGE_CHARACTERS:
        return tokenizer.encode(text, add_special_tokens=False).ids
    return tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids


def _is_byte_level(steps: list[dict[str, Any]]) -> bool:
    return [step.get("type") for step in steps] == ["ByteLevel"]


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's way to write any byte as a printable character, from the character to the byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    alphabet.update({chr(256 + n): byte for n, byte in enumerate(others)})
    return alphabet
