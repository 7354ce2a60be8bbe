"""Stop strings are never shown, not in part either, and cost no other text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.serving.stop import StopMatcher

# Few letters, so that stops overlap with themselves, each other and the text.
letters = st.text(alphabet="ab€", max_size=40)
stop_sets = st.lists(st.text(alphabet="ab€", min_size=1, max_size=5), min_size=1, max_size=5)


def cut(text: str, stops: list[str]) -> str | None:
    """The text before the stop that is complete first, by looking at every prefix."""
    for end in range(1, len(text) + 1):
        ends_here = [stop for stop in stops if text[:end].endswith(stop)]
        if ends_here:
            return text[: end - max(map(len, ends_here))]
    return None


def parts_of(text: str, cuts: list[int]) -> list[str]:
    ends = sorted({min(c, len(text)) for c in cuts} | {len(text)})
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(letters, stop_sets, st.lists(st.integers(0, 40), max_size=10))
def test_the_text_before_the_first_stop_is_shown_however_it_arrives(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    matcher = StopMatcher(stops)
    shown, stopped = "", False
    for part in parts_of(text, cuts):
        piece, stopped = matcher.feed(part)
        shown += piece
        if stopped:
            break
    if not stopped:
        shown += matcher.flush()
    expected = cut(text, stops)
    assert stopped == (expected is not None)
    assert shown == (text if expected is None else expected)


@given(letters, stop_sets)
def test_only_what_may_become_a_stop_is_held_back(text: str, stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    shown = ""
    for i, letter in enumerate(text):
        piece, stopped = matcher.feed(letter)
        if stopped:
            return
        shown += piece
        held = text[len(shown) : i + 1]
        assert not held or any(stop.startswith(held) for stop in stops)


@pytest.mark.parametrize("stop", ["[", "]", "^", "\\", ".", "-", "a-c"])
def test_a_stop_may_hold_any_punctuation(stop: str) -> None:
    assert StopMatcher([stop]).feed(f"before{stop}after") == ("before", True)


def test_without_stops_everything_is_shown() -> None:
    assert StopMatcher([]).feed("anything") == ("anything", False)


def test_a_stop_string_is_shown_where_it_is_asked_for() -> None:
    matcher = StopMatcher(["END"], shown=True)
    assert matcher.feed("a E") == ("a ", False)
    assert matcher.feed("ND b") == ("END", True)
