"""What one condition says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from berth.workspace.reasons import Reason

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Status, reason and message of a condition, before it has a time."""

    status: Truth
    reason: Reason
    message: str


def yes(reason: Reason, message: str) -> Judgement:
    """True."""
    return Judgement("True", reason, message)


def no(reason: Reason, message: str) -> Judgement:
    """False."""
    return Judgement("False", reason, message)


def unknown(reason: Reason, message: str) -> Judgement:
    """Unknown."""
    return Judgement("Unknown", reason, message)
