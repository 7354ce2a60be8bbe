"""Token by token is the same text as all at once, and no piece ends inside a character."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders

from berth.tokenizer.detokenize import Detokenizer, WindowDetokenizer, decode_prefix
from berth.tokenizer.huggingface import HuggingFaceTokenizer
from berth.tokenizer.sentencepiece import SentencePieceTokenizer
from serving.tiny_model import VOCAB, byte_level_tokenizer, llama_tokenizer, sentencepiece_model

NOWHERE = Path("/nonexistent")
SENTENCEPIECE = SentencePieceTokenizer(Path("tokenizer.model"), sentencepiece_model(), NOWHERE)
TRIMMED = SentencePieceTokenizer(
    Path("tokenizer.model"), sentencepiece_model(remove_extra_whitespaces=True), NOWHERE
)
BYTE_LEVEL = HuggingFaceTokenizer(
    Path("tokenizer.json"), byte_level_tokenizer().to_str().encode(), NOWHERE
)
LLAMA = HuggingFaceTokenizer(Path("tokenizer.json"), llama_tokenizer().to_str().encode(), NOWHERE)
REFERENCE = Tokenizer.from_str(llama_tokenizer().to_str())
UNKNOWN = llama_tokenizer()
UNKNOWN.decoder = decoders.Sequence(
    [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
)


def joined(parts: list[list[int]]) -> list[int]:
    return list(chain.from_iterable(parts))


# Bytes often come in characters, as a model sends them, and sometimes as they please.
ids = st.integers(0, VOCAB - 1)
words = st.lists(ids, max_size=4)
characters = st.text(max_size=3).map(lambda text: [3 + byte for byte in text.encode()])
wild_bytes = st.lists(st.integers(0, 255).map(lambda byte: 3 + byte), max_size=5)
sequences = st.lists(words | characters | wild_bytes, max_size=8).map(joined)
whole_characters = st.lists(
    st.lists(st.integers(259, VOCAB - 1), max_size=4) | characters, max_size=8
).map(joined)


def streamed(detokenizer: Detokenizer, tokens: list[int]) -> str:
    """The pieces together; each of them has to be whole characters."""
    pieces = [detokenizer.feed(token) for token in tokens]
    pieces.append(detokenizer.flush())
    assert all(piece.encode().decode() == piece for piece in pieces)
    return "".join(pieces)


@given(sequences)
def test_sentencepiece_streams_what_it_decodes_at_once(tokens: list[int]) -> None:
    whole = SENTENCEPIECE._model.decode(tokens)
    assert streamed(SENTENCEPIECE.detokenizer(), tokens) == whole


@given(sequences)
def test_sentencepiece_that_trims_whitespace_streams_what_it_decodes(tokens: list[int]) -> None:
    assert streamed(TRIMMED.detokenizer(), tokens) == TRIMMED._model.decode(tokens)


def test_a_model_that_trims_drops_all_space_at_the_start() -> None:
    lone, spaced = (TRIMMED._model.piece_to_id(piece) for piece in ("▁", "▁the"))
    assert TRIMMED._rules.strips_all
    for tokens in ([lone, lone, spaced], [1, lone, spaced, lone], [lone, 3 + 0x41, lone]):
        assert streamed(TRIMMED.detokenizer(), tokens) == TRIMMED._model.decode(tokens)


@given(st.lists(st.integers(0, BYTE_LEVEL.vocab_size - 1)))
def test_byte_level_streams_what_it_decodes_at_once(tokens: list[int]) -> None:
    assert streamed(BYTE_LEVEL.detokenizer(), tokens) == BYTE_LEVEL._safe.decode(tokens)


@given(whole_characters)
def test_llamas_tokenizer_json_streams_what_it_decodes_at_once(tokens: list[int]) -> None:
    assert streamed(LLAMA.detokenizer(), tokens) == REFERENCE.decode(tokens)


@given(whole_characters)
def test_llamas_two_tokenizer_formats_decode_alike(tokens: list[int]) -> None:
    lossless = [token for token in tokens if token != 3 + ord(" ")]  # see strips_bytes
    assert streamed(LLAMA.detokenizer(), lossless) == streamed(
        SENTENCEPIECE.detokenizer(), lossless
    )


@given(st.text())
def test_a_continuation_keeps_the_space_between(answer: str) -> None:
    """Encoding puts a space before the answer; only at the start of a text is it dropped."""
    tokens = SENTENCEPIECE.encode(answer, bos=False)
    text = streamed(SENTENCEPIECE.detokenizer(continuation=True), tokens)
    assert text == (" " + answer if answer else "")
    assert streamed(SENTENCEPIECE.detokenizer(), tokens) == answer


@pytest.mark.parametrize("tokenizer", [SENTENCEPIECE, LLAMA, BYTE_LEVEL], ids=["sp", "llama", "bl"])
def test_a_token_outside_the_vocabulary_has_no_text(tokenizer: HuggingFaceTokenizer) -> None:
    detokenizer = tokenizer.detokenizer()
    assert [detokenizer.feed(token) for token in (10**9, tokenizer.vocab_size, -1)] == [""] * 3


def test_a_character_appears_with_its_last_byte() -> None:
    detokenizer = SENTENCEPIECE.detokenizer()
    assert [detokenizer.feed(3 + byte) for byte in "€".encode()] == ["", "", "€"]


def test_an_unfinished_character_is_told_at_the_end() -> None:
    detokenizer = SENTENCEPIECE.detokenizer()
    assert [detokenizer.feed(3 + byte) for byte in "€".encode()[:2]] == ["", ""]
    assert detokenizer.flush() == "\ufffd\ufffd"


@given(st.binary(max_size=12))
def test_what_is_held_back_is_the_beginning_of_a_character(data: bytes) -> None:
    text, held = decode_prefix(data)
    assert len(held) <= 3
    if held:
        fills = (held + tail for n in (1, 2, 3) for tail in (b"\x80" * n, b"\xbf" * n, b"\x90" * n))
        assert any(_is_character(fill) for fill in fills)
    assert len(text.encode()) >= len(text)


def _is_character(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False


@settings(max_examples=300)
@given(st.lists(whole_characters, max_size=4).map(joined))
def test_an_unknown_decoder_is_streamed_through_a_window(tokens: list[int]) -> None:
    whole = UNKNOWN.decode(tokens)
    assume("\ufffd" not in whole)  # as a character of its own it cannot be told from a broken one
    assert streamed(WindowDetokenizer(UNKNOWN.decode), tokens) == whole
