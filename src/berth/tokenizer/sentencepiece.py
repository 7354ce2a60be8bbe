"""Meta's tokenizer.model, read by SentencePiece."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import sentencepiece

from berth.tokenizer.base import TokenizerError, configured_eos_ids
from berth.tokenizer.detokenize import Detokenizer, PieceDetokenizer, PieceRules

_SPACE = "\u2581"  # how SentencePiece writes a space inside a piece


class SentencePieceTokenizer:
    """A SentencePiece model. Control pieces (<s>, </s>) are never made from a user's text."""

    def __init__(self, path: Path, data: bytes, folder: Path) -> None:
        self._model = sentencepiece.SentencePieceProcessor()
        try:
            self._model.LoadFromSerializedProto(data)
        except (RuntimeError, OSError) as error:
            raise TokenizerError(f"{path} is not a SentencePiece model: {error}") from error
        self.vocab_size: int = self._model.vocab_size()
        bos = self._model.bos_id()
        self.bos_id: int | None = bos if bos >= 0 else None
        eos = [self._model.eos_id()] if self._model.eos_id() >= 0 else []
        self.eos_ids = tuple(dict.fromkeys(eos + configured_eos_ids(folder)))
        self._pieces: list[str] = self._model.id_to_piece(list(range(self.vocab_size)))
        self.special_tokens: Mapping[str, int] = {
            piece: i for i, piece in enumerate(self._pieces) if self._model.is_control(i)
        }
        self._specials = _alternatives(list(self.special_tokens))
        self._rules = self._decode_rules()
        self.max_token_bytes = max(len(self.token_bytes(i)) for i in range(self.vocab_size))

    def _decode_rules(self) -> PieceRules:
        """Find out by asking the model, whose normaliser's settings have no reader of their own."""
        model, unknown = self._model, self._model.unk_id()
        table: list[str | int] = []
        for i, piece in enumerate(self._pieces):
            if model.is_control(i):
                table.append("")
            elif model.is_byte(i):
                table.append(int(piece[3:5], 16))  # "<0xE2>"
            elif i == unknown:
                table.append(model.decode([i]))
            else:
                table.append(piece.replace(_SPACE, " "))
        spaced = [i for i, piece in enumerate(self._pieces) if piece[:1] == _SPACE and piece[1:]]
        strips = bool(spaced) and not model.decode(spaced[:1]).startswith(" ")
        lone = model.piece_to_id(_SPACE)
        twice = [lone, *spaced[:1]]
        strips_all = strips and lone != unknown and not model.decode(twice).startswith(" ")
        return PieceRules(table, strips, strips_all, unknown)

    def encode(self, text: str, *, bos: bool) -> list[int]:
        ids: list[int] = self._model.encode(text)
        if bos and self.bos_id is not None:
            ids.insert(0, self.bos_id)
        return ids

    def encode_template(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in self._specials.split(text):
            if part in self.special_tokens:
                ids.append(self.special_tokens[part])
            elif part:
                ids += self._model.encode(part)
        return ids

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
