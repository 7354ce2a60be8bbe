"""The page of reasons is the code's, and every reason has its cause, its cure and its use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from berth.workspace.reasons import Reason, page

REPOSITORY = Path(__file__).parents[2]
SOURCES = sorted((REPOSITORY / "src/berth/workspace").rglob("*.py"))
CONDITIONS = {
    "all",
    "Fits",
    "NodeClaimReady",
    "ResourceReady",
    "InferenceReady",
    "WorkspaceReady",
    "WorkspaceSucceeded",
    "UpToDate",
    "WorkspaceDeleting and all others",
}


def test_the_page_is_up_to_date() -> None:
    written = (REPOSITORY / "docs/conditions.md").read_text("utf-8")
    assert written == page(), "python -m berth.workspace.reasons > docs/conditions.md"


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.code)
def test_a_reason_is_complete(reason: Reason) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z]{2,60}", reason.code), "as the API asks of a reason"
    assert set(reason.condition.split(", ")) <= CONDITIONS
    for sentence in (reason.cause, reason.cure):
        assert sentence.endswith(".")
        assert "|" not in sentence


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.code)
def test_a_reason_is_used(reason: Reason) -> None:
    """An entry that nothing gives would be a promise to nobody."""
    uses = [
        file
        for file in SOURCES
        if file.name != "reasons.py" and f"Reason.{reason.name}" in file.read_text("utf-8")
    ]
    assert uses


def test_no_two_reasons_are_the_same_to_the_enum() -> None:
    """An Enum makes aliases of equal values without a word."""
    assert len(Reason) == len(Reason.__members__)
