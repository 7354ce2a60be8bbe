"""A prompt is a value: what it holds beside its ids decides what it may share with others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from berth.engines.host.sequence import MOST_ROOT
from berth.serving.errors import InvalidRequest
from berth.serving.prompt import Prompt, Span
from berth.serving.validate import check_prompt

IMAGE = Span(2, 3, b"a cat", "image")
SOUND = Span(6, 1, b"a mew", "audio")
IDS = [1, 5, 9, 9, 9, 6, 8, 7]
SEEN = Prompt(IDS, ("\nUser:",), (IMAGE, SOUND))


def test_ids_alone_share_their_prefix_with_all_others() -> None:
    assert Prompt(IDS).root == Prompt([]).root == Prompt(IDS, ("x",)).root == 0


def _others() -> Iterator[tuple[Span, ...]]:
    yield ()
    yield (IMAGE,)
    yield (SOUND,)
    for change in ({"at": 1}, {"length": 2}, {"digest": b"a dog"}, {"kind": "video"}):
        yield (replace(IMAGE, **change), SOUND)
    yield (IMAGE, replace(SOUND, digest=b""))
    # The same bytes, cut elsewhere.
    yield (replace(IMAGE, kind="imagea", digest=b" cat"), SOUND)


def test_prompts_with_other_inputs_share_nothing() -> None:
    roots = [Prompt(IDS, spans=spans).root for spans in _others()] + [SEEN.root]
    assert len(set(roots)) == len(roots)
    assert all(0 <= root <= MOST_ROOT for root in roots)
    assert SEEN.root == Prompt([*IDS, 3], (), (IMAGE, SOUND)).root != 0


@pytest.mark.parametrize("keep", [8, 9, 100])
def test_a_prompt_that_is_short_enough_is_kept_as_it_is(keep: int) -> None:
    assert SEEN.last(keep) is SEEN


def test_spans_move_with_their_tokens_and_go_with_them() -> None:
    assert SEEN.last(7) == Prompt(
        IDS[1:], ("\nUser:",), (replace(IMAGE, at=1), replace(SOUND, at=5))
    )
    assert SEEN.last(3) == Prompt([6, 8, 7], ("\nUser:",), (replace(SOUND, at=1),))
    assert SEEN.last(1) == Prompt([7], ("\nUser:",))


@pytest.mark.parametrize("keep", [4, 5])
def test_no_cut_goes_through_an_input(keep: int) -> None:
    with pytest.raises(ValueError, match="would go through"):
        SEEN.last(keep)


@pytest.mark.parametrize(
    "spans",
    [
        (SOUND, IMAGE),
        (IMAGE, replace(SOUND, at=4)),
        (replace(SOUND, at=8),),
        (replace(IMAGE, length=0),),
        (replace(IMAGE, at=-1),),
    ],
)
def test_spans_have_a_place_of_their_own(spans: tuple[Span, ...]) -> None:
    with pytest.raises(ValueError, match="has no place"):
        Prompt(IDS, spans=spans)


def test_inputs_that_the_engine_does_not_take_are_refused_by_their_kind() -> None:
    check_prompt(SEEN, 100, ("image", "audio"))
    with pytest.raises(InvalidRequest, match="takes no input of the kind 'audio'"):
        check_prompt(SEEN, 100, ("image",))
    with pytest.raises(InvalidRequest, match="'image'"):
        check_prompt(SEEN, 100)
