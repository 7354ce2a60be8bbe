"""tokenizer.model, read by SentencePiece: Meta's, or a Hugging Face folder's.

In a Hugging Face folder the files beside it count too, as in transformers: control tokens that were
added behind the model's own pieces, and the names of the beginning and the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sentencepiece

from berth.tokenizer.base import (
    TokenizerError,
    added_tokens,
    configured_eos_ids,
    special_text,
    tokenizer_config,
)
from berth.tokenizer.detokenize import Detokenizer, PieceDetokenizer, PieceRules

_SPACE = "\u2581"  # how SentencePiece writes a space inside a piece
_WIDEST_GAP = 1 << 16  # ids between one token and the next that was added
_LONER = "\ufdd0"  # no character: no piece has it


class SentencePieceTokenizer:
    """A SentencePiece model. Control pieces (<s>, </s>) are never made from a user's text."""

    def __init__(self, path: Path, data: bytes, folder: Path, *, huggingface: bool = False) -> None:
        """Args: `huggingface`: whether the folder is in that layout, and its files say more."""
        self._model = sentencepiece.SentencePieceProcessor()
        try:
            self._model.LoadFromSerializedProto(data)
        except (RuntimeError, OSError) as error:
            raise TokenizerError(f"{path} is not a SentencePiece model: {error}") from error
        config = tokenizer_config(folder) if huggingface else {}
        count: int = self._model.vocab_size()
        self._pieces: list[str] = self._model.id_to_piece(list(range(count)))
        self._added = self._add(added_tokens(folder, config) if huggingface else [])
        self.vocab_size = len(self._pieces)
        self.special_tokens: Mapping[str, int] = {
            piece: i for i, piece in enumerate(self._pieces[:count]) if self._model.is_control(i)
        } | {text: i for text, (i, special) in self._added.items() if special}

        self.bos_id = self._named(config, "bos_token", self._model.bos_id())
        eos = self._named(config, "eos_token", self._model.eos_id())
        named = [] if eos is None else [eos]
        self.eos_ids = tuple(dict.fromkeys(named + configured_eos_ids(folder)))
        self._adds_bos = config.get("add_bos_token") is not False
        # Before a text that follows a control token Meta puts a space, transformers 5 does not
        # unless the folder says legacy.
        self._spaced = not huggingface or bool(config.get("legacy"))
        self._specials = _alternatives([*self.special_tokens, *self._added])
        self._words = _alternatives(
            [text for text, (_, special) in self._added.items() if not special]
        )
        self._rules = self._decode_rules()
        self.max_token_bytes = max(len(self.token_bytes(i)) for i in range(self.vocab_size))

    def _add(self, entries: list[dict[str, Any]]) -> dict[str, tuple[int, bool]]:
        """Ids of the tokens that lie behind the model's own, and whether they are control tokens.

        `_pieces` grows with them. One that the model has becomes a control token of its id.
        """
        own = {piece: i for i, piece in enumerate(self._pieces)}
        found: dict[str, tuple[int, bool]] = {}
        for entry in entries:
            text, wanted = entry["content"], entry.get("id", -1)
            if text in own:
                if entry["special"] and not entry.get("if_absent"):
                    found[text] = (own[text], True)
                continue
            token = wanted if wanted >= len(self._pieces) else len(self._pieces)
            if token - len(self._pieces) > _WIDEST_GAP:
                raise TokenizerError(f"the added token {text!r} has the id {token}, too large")
            # Ids that nothing has stay without a text.
            self._pieces += [""] * (token - len(self._pieces)) + [text]
            own[text] = token
            found[text] = (token, bool(entry["special"]))
        return found

    def _named(self, config: Mapping[str, Any], key: str, own: int) -> int | None:
        """The token that the configuration names, else the model's own."""
        if (text := special_text(config, key)) is not None:
            if text in self._added:
                return self._added[text][0]
            token = self._model.piece_to_id(text)
            if self._pieces[token] == text:
                return int(token)
        return own if own >= 0 else None

    def _decode_rules(self) -> PieceRules:
        """Find out by asking the model, whose normaliser's settings have no reader of their own."""
        model, unknown = self._model, self._model.unk_id()
        table: list[str | int] = []
        control = set(self.special_tokens.values())
        count = model.vocab_size()
        for i, piece in enumerate(self._pieces):
            if i >= count:
                table.append("" if i in control else piece)
            elif model.is_control(i):
                table.append("")
            elif model.is_byte(i):
                table.append(int(piece[3:5], 16))  # "<0xE2>"
            elif i == unknown:
                table.append(model.decode([i]))
            else:
                table.append(piece.replace(_SPACE, " "))
        own = self._pieces[:count]
        spaced = [i for i, piece in enumerate(own) if piece[:1] == _SPACE and piece[1:]]
        strips = bool(spaced) and not model.decode(spaced[:1]).startswith(" ")
        lone = model.piece_to_id(_SPACE)
        twice = [lone, *spaced[:1]]
        strips_all = strips and lone != unknown and not model.decode(twice).startswith(" ")
        return PieceRules(table, strips, strips_all, unknown)

    def encode(self, text: str, *, bos: bool) -> list[int]:
        ids = self._parts(self._words, text)
        if bos and self._adds_bos and self.bos_id is not None:
            ids.insert(0, self.bos_id)
        return ids

    def encode_template(self, text: str) -> list[int]:
        return self._parts(self._specials, text)

    def _parts(self, tokens: re.Pattern[str], text: str) -> list[int]:
        """Ids of a text in which `tokens` are taken as they are written."""
        ids: list[int] = []
        for part in tokens.split(text):
            if part in self._added:
                ids.append(self._added[part][0])
            elif part in self.special_tokens and tokens is self._specials:
                ids.append(self.special_tokens[part])
            elif part:
                ids += self._pieces_of(part, spaced=self._spaced or not ids)
        return ids

    def _pieces_of(self, text: str, *, spaced: bool) -> list[int]:
        whole: list[int] = self._model.encode(text)
        if spaced:
            return whole
        # SentencePiece has no switch for its space in front, so something that joins with nothing
        # is put before the text, and taken away again.
        front = self._model.encode(_LONER)
        behind: list[int] = self._model.encode(_LONER + text)
        return behind[len(front) :] if behind[: len(front)] == front else whole

    def token_bytes(self, token: int) -> bytes:
        if not 0 <= token < self.vocab_size:
            return b""
        entry = self._rules.table[token]
        if isinstance(entry, int):
            return bytes((entry,))
        return (entry or self._pieces[token]).encode()

    def detokenizer(self, *, continuation: bool = False) -> Detokenizer:
        return PieceDetokenizer(self._rules, continuation=continuation)


def _alternatives(texts: list[str]) -> re.Pattern[str]:
    """A pattern that splits at, and keeps, any of `texts`; the longest of several wins."""
    longest_first = sorted(texts, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")" if texts else r"(?!)")
