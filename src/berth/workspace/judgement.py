"""What one condition says, and the one word that all of them make: status.state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from berth.workspace.reasons import Reason
from berth.workspace.types import State

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


# Nothing answers yet, and nothing that runs is wrong.
_BEGINNING = frozenset({Reason.NotDeployed, Reason.Deploying, Reason.Starting})


def state_of(judged: Mapping[str, Judgement]) -> State:
    """Ready: it answers. Pending: what should answer is not there yet. NotReady: it should.

    KAITO's Running, Succeeded and Failed are of tuning, which Berth does not do.
    """
    if judged["WorkspaceReady"].status == "True":
        return "Ready"
    return "Pending" if judged["InferenceReady"].reason in _BEGINNING else "NotReady"
