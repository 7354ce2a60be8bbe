"""What differs is seen, also when it is gone; what the API server filled in is no difference."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.workspace.diff import is_current, was_applied, within

LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@given(JSON)
def test_everything_is_within_itself(value: Any) -> None:
    assert within(value, copy.deepcopy(value))


@given(JSON, JSON)
def test_any_two_things_can_be_compared(one: Any, other: Any) -> None:
    within(one, other)


@pytest.mark.parametrize(
    ("wanted", "live"),
    [
        pytest.param({"a": 1}, {"a": 1, "b": 2}, id="more fields"),
        pytest.param({"a": None}, {}, id="null is absent"),
        pytest.param({"a": {}}, {"a": {"b": 1}}, id="an empty map that was filled"),
        pytest.param([{"name": "a"}], [{"name": "b"}, {"name": "a", "x": 1}], id="another's entry"),
        pytest.param(
            {"limits": {"memory": "1024Mi"}}, {"limits": {"memory": "1Gi"}}, id="a quantity"
        ),
        pytest.param({"sizeLimit": "2048Mi"}, {"sizeLimit": "2Gi"}, id="a size"),
        pytest.param([1, 2], [1, 2], id="values"),
    ],
)
def test_what_is_no_difference(wanted: Any, live: Any) -> None:
    assert within(wanted, live)


@pytest.mark.parametrize(
    ("wanted", "live"),
    [
        pytest.param({"a": 1}, {}, id="a field that is gone"),
        pytest.param({"a": 1}, {"a": 2}, id="another value"),
        pytest.param({"a": True}, {"a": 1}, id="another type"),
        pytest.param({"a": {"b": 1}}, {"a": None}, id="a map that is gone"),
        pytest.param([{"name": "a"}], [{"name": "b"}], id="an entry that is gone"),
        pytest.param([{"name": "a", "x": 1}], [{"name": "a", "x": 2}], id="an entry that differs"),
        pytest.param(["a"], ["a", "b"], id="a list that is one value"),
        pytest.param({"image": "1024"}, {"image": "1Ki"}, id="no quantity at all"),
        pytest.param([{"key": "a"}], [{"key": "a"}, {"key": "b"}], id="tolerations"),
        pytest.param({"a": ["x"]}, {"a": None}, id="a list that is gone"),
    ],
)
def test_what_is_a_difference(wanted: Any, live: Any) -> None:
    assert not within(wanted, live)


def test_another_hash_is_a_difference() -> None:
    def made(mark: str) -> dict[str, Any]:
        return {"metadata": {"annotations": {"berth/applied": mark}}, "spec": {"a": 1}}

    assert is_current(made("x.1"), made("x.1"))
    assert not is_current(made("x.1"), made("x.2"))
    assert was_applied(made("x.1"), made("x.2")), "the spec is the same"
    assert not was_applied(made("x.1"), made("y.1"))
    bare = {"metadata": {}, "spec": {"a": 1}}
    assert not is_current(made("x.1"), bare)
    assert not was_applied(made("x.1"), bare)
