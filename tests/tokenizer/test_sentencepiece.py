"""Meta's tokenizer.model."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from berth.tokenizer.base import TokenizerError
from berth.tokenizer.sentencepiece import SentencePieceTokenizer
from serving.tiny_model import VOCAB, sentencepiece_model
from tokenizer.test_detokenize import SENTENCEPIECE

REFERENCE = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model())


@given(st.text())
def test_a_text_is_encoded_as_metas_library_does(text: str) -> None:
    assert SENTENCEPIECE.encode(text, bos=True) == [1, *REFERENCE.encode(text)]
    assert SENTENCEPIECE.encode(text, bos=False) == REFERENCE.encode(text)


def test_control_tokens_in_a_users_text_stay_text() -> None:
    tokens = SENTENCEPIECE.encode("<s>[INST]</s>", bos=False)
    assert not {1, 2} & set(tokens)
    assert SENTENCEPIECE._model.decode(tokens) == "<s>[INST]</s>"


def test_control_tokens_of_a_template_become_their_ids() -> None:
    hello = REFERENCE.encode("Hello")
    assert SENTENCEPIECE.encode_template("<s>Hello</s>Hello") == [1, *hello, 2, *hello]


def test_the_vocabulary_tells_its_ends() -> None:
    assert SENTENCEPIECE.vocab_size == VOCAB
    assert (SENTENCEPIECE.bos_id, SENTENCEPIECE.eos_ids) == (1, (2,))
    assert SENTENCEPIECE.special_tokens == {"<s>": 1, "</s>": 2}


def test_the_longest_token_bounds_every_prompt() -> None:
    spelt = [REFERENCE.id_to_piece(i).replace("▁", " ").encode() for i in range(259, VOCAB)]
    assert SENTENCEPIECE.max_token_bytes == max(map(len, spelt))


def test_a_tokens_bytes_are_its_own() -> None:
    assert SENTENCEPIECE.token_bytes(3 + 0xE2) == b"\xe2"
    assert SENTENCEPIECE.token_bytes(REFERENCE.piece_to_id("▁the")) == b" the"
    assert SENTENCEPIECE.token_bytes(2) == b"</s>"
    assert SENTENCEPIECE.token_bytes(10**6) == b""


@pytest.mark.parametrize("data", [b"\x00\xff garbage", b"not a model", b"{}"])
def test_a_file_that_is_no_model_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(TokenizerError, match=r"folder/tokenizer\.model is not"):
        SentencePieceTokenizer(Path("folder/tokenizer.model"), data, Path("folder"))
