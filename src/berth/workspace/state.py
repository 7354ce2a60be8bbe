"""status.state: KAITO's one word for how a Workspace is, from its conditions alone."""

from __future__ import annotations

from collections.abc import Mapping

from berth.workspace.judgement import Judgement
from berth.workspace.reasons import Reason
from berth.workspace.types import State

# Nothing answers yet, and nothing that runs is wrong.
_BEGINNING = frozenset({Reason.NotDeployed, Reason.Deploying, Reason.Starting})


def state_of(judged: Mapping[str, Judgement]) -> State:
    """Ready: it answers. Pending: what should answer is not there yet. NotReady: it should.

    KAITO's Running, Succeeded and Failed are of tuning, which Berth does not do.
    """
    if judged["WorkspaceReady"].status == "True":
        return "Ready"
    return "Pending" if judged["InferenceReady"].reason in _BEGINNING else "NotReady"
