"""The log has a line for each condition of a Workspace that changes, and no pod's words."""

from __future__ import annotations

from typing import Any

import pytest

from berth.controller.core import transitions


def condition(kind: str, status: str, reason: str) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": "secret words"}


def test_only_what_changed_is_told_and_without_its_message() -> None:
    before = {
        "conditions": [condition("Fits", "True", "FitsNodes"), condition("Ready", "False", "A")]
    }
    after = {
        "conditions": [
            condition("Fits", "True", "FitsNodes"),
            condition("Ready", "True", "Serves"),
            condition("New", "False", "B"),
        ]
    }
    assert transitions(before, after) == ["Ready is True (Serves)", "New is False (B)"]
    assert transitions(after, after) == []


@pytest.mark.parametrize("odd", [None, [], {"conditions": 3}, {"conditions": ["x"]}])
def test_an_odd_status_of_before_is_no_reason_to_fail(odd: object) -> None:
    after = {"conditions": [condition("Ready", "True", "Serves")]}
    assert transitions(odd, after) == ["Ready is True (Serves)"]
