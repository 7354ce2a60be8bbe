"""What a body may hold follows from the model, and is counted without decoding it."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.server.body_limits import BodyBudget, BodyLimits, ValueCounter, limits_of
from berth.server.errors import TooManyBodies

MIB = 1024 * 1024
_TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=40,
)


def _heavy(tree: Any) -> int:
    """Lists, objects and strings, keys too."""
    if isinstance(tree, str):
        return 1
    if isinstance(tree, list):
        return 1 + sum(map(_heavy, tree))
    if isinstance(tree, dict):
        return 1 + sum(1 + _heavy(value) for value in tree.values())
    return 0


def _entries(tree: Any) -> int:
    """Commas."""
    if isinstance(tree, list | dict):
        inner = tree.values() if isinstance(tree, dict) else tree
        return max(len(tree) - 1, 0) + sum(map(_entries, inner))
    return 0


@given(_TREES, st.lists(st.integers(0, 400)), st.booleans())
def test_values_are_counted_wherever_the_body_is_cut(
    tree: Any, cuts: list[int], escaped: bool
) -> None:
    body = json.dumps(tree, ensure_ascii=escaped).encode()
    counter = ValueCounter()
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    for start, end in itertools.pairwise(places):
        for _ in counter.feed(body[start:end]):
            pass
    assert (counter.values, counter.entries) == (_heavy(tree), _entries(tree))


@given(st.binary(max_size=300))
def test_what_is_no_json_is_counted_somehow(body: bytes) -> None:
    counter = ValueCounter()
    for _ in counter.feed(body):
        pass
    assert 0 <= counter.values <= len(body)


@pytest.mark.parametrize(
    ("context", "limits"),
    [
        (0, BodyLimits(0, 4 * MIB, 65_536, 393_216)),
        (4096, BodyLimits(4096, 4 * MIB, 73_728, 393_216)),
        (131_072, BodyLimits(131_072, 48 * 131_072, 131_072, 393_216)),
        (10_000_000, BodyLimits(10_000_000, 16 * MIB, 131_072, 393_216)),
    ],
)
def test_the_limits_follow_from_the_models_context(context: int, limits: BodyLimits) -> None:
    assert limits_of(16 * MIB, context) == limits


def test_an_owners_smaller_limit_holds() -> None:
    assert limits_of(1000, 4096).bytes == 1000


# What review found to stop all other streams for seconds, and others of the kind: the beginning,
# what is repeated, and the end.
WORST: dict[str, tuple[bytes, bytes, bytes]] = {
    "one-token prompts": (b'{"prompt":[', b"[1],", b"[1]]}"),
    "empty prompts": (b'{"prompt":[', b'"",', b'""]}'),
    "token ids": (b'{"prompt":[', b"1,", b"1]}"),
    "empty messages": (
        b'{"messages":[', b'{"role":"user","content":""},', b"{}]}"),
    "alternating messages": (
        b'{"messages":[',
        b'{"role":"user","content":""},{"role":"assistant","content":""},',
        b"{}]}"),
    "content parts": (
        b'{"messages":[{"role":"user","content":[',
        b'{"type":"text","text":""},', b"{}]}]}"),
    "logit biases": (
        b'{"prompt":"a","logit_bias":{', b'"1":1,', b'"1":1}}'),
    "stop strings": (b'{"prompt":"a","stop":[', b'"",', b'""]}'),
    "tools": (b'{"messages":[],"tools":[', b"{},", b"{}]}"),
    "unknown parameters": (
        b'{"prompts":["a"],"parameters":{', b'"k":0,', b'"k":0}}'),
    "dialogs": (
        b'{"input_data":{"input_string":[', b'[{"role":"user","content":""}],', b"[]]}}"),
    "bad words": (b'{"prompt":"a","bad_words_ids":[', b"[1],", b"[1]]}"),
    "nesting": (b'{"prompt":', b"[", b""),
}  # fmt: skip


def _body(name: str, size: int) -> bytes:
    start, repeated, end = WORST[name]
    return start + repeated * ((size - len(start) - len(end)) // len(repeated)) + end


@pytest.mark.parametrize("name", WORST)
def test_no_body_of_many_values_reaches_the_decoder(name: str) -> None:
    limits = limits_of(16 * MIB, 131_072)
    body = _body(name, limits.bytes)
    counter = ValueCounter()
    counted = 0
    for _ in counter.feed(body):
        counted += 64 * 1024
        if counter.values > limits.values or counter.entries > limits.numbers:
            break
    else:
        pytest.fail("it would be decoded")
    assert counted < len(body), "it is refused before all of it was read"


def test_bodies_in_flight_share_a_budget_and_give_it_back() -> None:
    budget = BodyBudget(100)
    with budget.reading() as first, budget.reading() as second:
        first.add(60)
        second.add(40)
        with pytest.raises(TooManyBodies), budget.reading() as third:
            third.add(1)
        assert budget.held == 100
    assert budget.held == 0
    with budget.reading() as alone:
        alone.add(1000)  # one body alone has room whatever its size
    assert budget.held == 0
