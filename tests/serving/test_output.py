"""What a client sees of an engine's tokens."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from tiny_model import VOCAB

from berth.protocol.messages import TokenLogprob
from berth.serving.output import OutputText
from berth.serving.request import TokenText
from berth.tokenizer.base import Tokenizer
from berth.tokenizer.huggingface import HuggingFaceTokenizer
from tokenizer.test_detokenize import (
    BYTE_LEVEL,
    LLAMA,
    NOWHERE,
    SENTENCEPIECE,
    TRIMMED,
    UNKNOWN,
    sequences,
)

TOKENIZER = SENTENCEPIECE


def ids(text: str) -> list[int]:
    return TOKENIZER.encode(text, bos=False)


def scored(tokens: list[int]) -> list[TokenLogprob]:
    return [TokenLogprob(token, -0.5, [(token, -0.5)]) for token in tokens]


@given(st.lists(st.integers(0, VOCAB - 1)), st.lists(st.integers(0, 5)))
def test_pieces_together_are_the_answer_however_it_is_taken(
    tokens: list[int], sizes: list[int]
) -> None:
    output = OutputText(TOKENIZER)
    taken, rest = "", tokens
    for size in sizes:
        output.feed(rest[:size])
        rest = rest[size:]
        taken += output.take()[0]
    output.feed(rest, "length")
    taken += output.take()[0]
    assert taken == TOKENIZER._model.decode(tokens) == output.whole()[0]
    assert output.tokens == len(tokens)


@given(st.lists(st.integers(3, VOCAB - 1), min_size=1), st.data())
def test_a_stop_string_across_tokens_ends_the_answer_before_it(
    tokens: list[int], data: st.DataObject
) -> None:
    text = TOKENIZER._model.decode(tokens)
    start = data.draw(st.integers(0, len(text) - 1))
    stop = text[start : start + data.draw(st.integers(1, 6))]
    output = OutputText(TOKENIZER, stops=[stop])
    shown = ""
    for token in tokens:
        output.feed([token])
        shown += output.take()[0]
        if output.finish_reason:
            break
    else:
        output.feed([], "length")
        shown += output.take()[0]
    assert output.finish_reason == "stop"
    assert stop not in shown
    assert text.startswith(shown + stop)


def test_a_stop_tokens_text_is_not_shown_but_counted() -> None:
    tokens = ids("Hello world")
    output = OutputText(TOKENIZER, stop_token_ids=[tokens[-1]])
    output.feed(tokens[:-1])
    output.feed(tokens[-1:], "stop", None)
    assert output.whole()[0] == TOKENIZER._model.decode(tokens[:-1])
    assert output.tokens == len(tokens)
    assert output.finish_reason == "stop"


def test_a_stop_string_counts_only_after_min_tokens() -> None:
    tokens = ids("stop") + ids("stop")
    output = OutputText(TOKENIZER, stops=["stop"], min_tokens=len(ids("stop")) + 1)
    for token in tokens:
        output.feed([token])
    assert output.whole()[0] == "stop "
    assert output.finish_reason == "stop"


def test_logprobs_come_with_the_text_of_their_tokens() -> None:
    tokens = ids("Hello€ world")
    output = OutputText(TOKENIZER)
    scores: list[TokenText] = []
    for token in tokens:
        output.feed([token], None, scored([token]))
        text, new = output.take()
        scores += new
        assert len(new) == 0 or text  # a token with a part of a character waits for the rest
    output.feed([], "length")
    scores += output.take()[1]
    assert [score.logprob.token for score in scores] == tokens
    assert b"".join(score.data for score in scores).decode() == "Hello€ world"


def test_logprobs_of_tokens_in_a_stop_string_are_not_shown() -> None:
    tokens = ids("Hello STOP")
    output = OutputText(TOKENIZER, stops=["STOP"])
    output.feed(tokens, None, scored(tokens))
    text, scores = output.whole()
    assert text == "Hello "
    assert [score.text for score in scores] == ["He", "llo", " "]  # of " ST" what is shown of it


WINDOW = HuggingFaceTokenizer(Path("tokenizer.json"), UNKNOWN.to_str().encode(), NOWHERE)
TOKENIZERS: list[Tokenizer] = [SENTENCEPIECE, TRIMMED, LLAMA, BYTE_LEVEL, WINDOW]


@given(
    st.sampled_from(TOKENIZERS),
    sequences,
    sequences,
    st.booleans(),
    st.booleans(),
    st.lists(st.sampled_from(["e", "o w", " ", "\ufffd", "l"]), max_size=2),
    st.integers(0, 4),
)
def test_the_tokens_texts_together_are_the_answer(
    tokenizer: Tokenizer,
    prompt: list[int],
    tokens: list[int],
    echo: bool,
    continues_prompt: bool,
    stops: list[str],
    min_tokens: int,
) -> None:
    output = OutputText(
        tokenizer, stops=stops, continues_prompt=continues_prompt, min_tokens=min_tokens
    )
    taken_text, taken = "", ""
    if echo:
        output.echo(prompt, [None, *scored(prompt[1:])] if prompt else [])
    for token in tokens:
        output.feed([token], None, scored([token]))
        text, scores = output.take()
        taken_text += text
        taken += "".join(score.text for score in scores)
        assert taken_text.startswith(taken)
        if output.finish_reason is not None:
            break
    else:
        output.feed([], "length")
    text, scores = output.take()
    assert taken + "".join(score.text for score in scores) == taken_text + text == output.whole()[0]


def test_bytes_of_tokens_are_those_of_the_text_and_of_parts_of_characters() -> None:
    for tokenizer in (SENTENCEPIECE, LLAMA, BYTE_LEVEL):
        tokens = tokenizer.encode("Hello 🐳€", bos=False)
        output = OutputText(tokenizer)
        output.feed(tokens, "length", scored(tokens))
        text, scores = output.whole()
        assert b"".join(score.data for score in scores) == text.encode() == "Hello 🐳€".encode()
        assert len(scores) == len(tokens) > 4


def test_what_could_have_begun_an_answer_is_spelt_as_its_beginning() -> None:
    first, other, end = ids("Hello")[0], ids("world")[0], TOKENIZER.eos_ids[0]
    output = OutputText(TOKENIZER)
    scores = [TokenLogprob(first, -0.5, [(first, -0.5), (other, -1.0), (end, -2.0)])]
    output.feed([first], "length", scores)
    assert output.whole()[1][0].top_texts == ("He", "w", "</s>")


def test_an_echoed_beginning_of_sequence_has_no_text() -> None:
    prompt = TOKENIZER.encode("Hello", bos=True)
    output = OutputText(TOKENIZER)
    output.echo(prompt, [None, *scored(prompt[1:])])
    output.feed(ids("world"), "length", scored(ids("world")))
    assert [score.text for score in output.whole()[1]][:3] == ["", "He", "llo"]


def test_echo_puts_the_prompt_first_with_its_logprobs() -> None:
    prompt = TOKENIZER.encode("Hello", bos=True)
    answer = ids("world")
    output = OutputText(TOKENIZER, stops=["Hello"])
    output.echo(prompt, [None, *scored(prompt[1:])])
    output.feed(answer, "length", scored(answer))
    text, scores = output.whole()
    assert text == "Hello world"
    assert [score.logprob.token for score in scores] == prompt + answer
    assert [score.has_logprob for score in scores] == [False] + [True] * len(prompt[1:] + answer)
    assert output.tokens == len(answer)


def test_without_echo_the_answer_stands_alone_or_continues_the_prompt() -> None:
    for continues, expected in ((False, "world"), (True, " world")):
        output = OutputText(TOKENIZER, continues_prompt=continues)
        output.feed(ids("world"), "length")
        assert output.whole()[0] == expected


def test_a_cancelled_answer_shows_nothing_that_was_held_back() -> None:
    output = OutputText(TOKENIZER, stops=["STOP"])
    output.feed(ids("Hello ST"))
    output.end_early("cancelled")
    assert output.whole()[0] == "Hello "
