"""The end of a conversation that there is room for, against the plain definition of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.store.window import Exchange, Room, name_of, window


def conversation(tokens: list[int]) -> list[Exchange]:
    return [
        Exchange(asked=f"q{n}", answered=f"a{n}", tokens=each, created_at=n)
        for n, each in enumerate(tokens)
    ]


@given(
    st.lists(st.integers(0, 30), max_size=20),
    st.none() | st.integers(0, 25),
    st.none() | st.integers(0, 100),
)
def test_it_is_the_longest_end_that_keeps_both_bounds(
    tokens: list[int], exchanges: int | None, budget: int | None
) -> None:
    whole = conversation(tokens)
    found = window(reversed(whole), Room(exchanges, budget))
    ends = [whole[at:] for at in range(len(whole) + 1)]
    fitting = [
        end
        for end in ends
        if (exchanges is None or len(end) <= exchanges)
        and (budget is None or sum(each.tokens for each in end) <= budget)
    ]
    assert found == max(fitting, key=len)


@given(st.integers(0, 5))
def test_no_more_is_read_than_is_shown(exchanges: int) -> None:
    read = 0

    def reading() -> Iterator[Exchange]:
        nonlocal read
        for exchange in reversed(conversation([1] * 100)):
            read += 1
            yield exchange

    window(reading(), Room(exchanges))
    assert read == exchanges


def test_room_is_never_negative() -> None:
    for values in ({"exchanges": -1}, {"tokens": -1}):
        with pytest.raises(ValueError, match=next(iter(values))):
            Room(**values)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("Hola como andas", "Hola como andas"),
        ("a" * 30, "a" * 30),
        ("a" * 31, "a" * 30 + "..."),
        (" two\nlines ", "two lines"),
        ("", ""),
    ],
)
def test_a_session_is_called_by_its_first_question(asked: str, name: str) -> None:
    assert name_of(asked) == name
