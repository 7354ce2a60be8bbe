"""Every name is one that Kubernetes takes, and no two Workspaces share one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.workspace import names

DNS_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@given(st.text(max_size=300))
def test_any_text_becomes_a_valid_name(text: str) -> None:
    assert DNS_LABEL.fullmatch(names.service(text))
    assert DNS_LABEL.fullmatch(names.headless_service(text))
    assert DNS_LABEL.fullmatch(names.claim("models", text, 999))
    assert LABEL_VALUE.fullmatch(names.label_value(text))


@given(st.text(max_size=300))
def test_the_revision_of_a_stateful_set_is_a_label_too(text: str) -> None:
    name = names.stateful_set(text)
    assert DNS_LABEL.fullmatch(name)
    assert LABEL_VALUE.fullmatch(f"{name}-{'f' * 10}")


@pytest.mark.parametrize("name", ["falcon", "a", "llama-2-7b-chat", "x" * 52])
def test_a_good_name_stays_as_it_is(name: str) -> None:
    assert names.service(name) == name
    assert names.stateful_set(name) == name
    assert names.label_value(name) == name
    assert names.headless_service(name) == f"{name}-headless"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a" * 70, "a" * 71),
        ("a.b", "a-b"),
        ("7b", "w-7b"),
        ("a" * 60 + "x" * 10, "a" * 60 + "y" * 10),
        ("Falcon", "falcon"),
    ],
)
def test_names_that_had_to_be_changed_do_not_meet(one: str, other: str) -> None:
    assert names.service(one) != names.service(other)
    assert names.stateful_set(one) != names.stateful_set(other)
    assert names.headless_service(one) != names.headless_service(other)


def test_claims_of_namesakes_in_two_namespaces_differ() -> None:
    assert names.claim("a", "falcon", 0) != names.claim("b", "falcon", 0)
