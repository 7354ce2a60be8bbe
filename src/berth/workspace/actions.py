"""What the planner asks of the shell. Each is idempotent: done twice, it has been done once.

A plan is carried out in its order. If the server cannot be used, or what was read is old, the
shell stops there, so that an event is only told of a status that was written; the next plan begins
with what is then there. A write that is refused for good stops no other Apply or Delete: it comes
back in `Observed.rejected`, and the status waits for the plan that knows of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from berth.workspace.needs import Need

FIELD_OWNER = "berth"  # of every server-side apply


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Server-side apply of the whole object, under FIELD_OWNER, without force.

    Only planned if it would change something: a resync that changes nothing writes nothing.

    `uid` is that of the live object which the plan saw; None: it saw none. With a uid, the shell
    sends it as metadata.uid, which the API server takes as a precondition. With None, the shell
    first reads the name from the API server: an object that is there without being ours belongs
    into `Observed.children` of the next plan, and is not touched. The planner knows whose it is.
    """

    object: dict[str, Any]
    uid: str | None = None
    takes_turn: bool = False  # pods that answer are restarted, and others wait meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Delete one object, if it still is the one that was seen (uid as precondition)."""

    api_version: str
    kind: str
    namespace: str | None
    name: str
    uid: str
    takes_turn: bool = False  # as of Apply


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteStatus:
    """Replace status, if the Workspace still has this resourceVersion."""

    status: dict[str, Any]
    resource_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFinalizer:
    """Add or take away our finalizer, if the Workspace still has this resourceVersion.

    Before it takes it away, the shell lists the Workspace's NodeClaims anew, not from a cache: a
    claim that was made a moment ago would otherwise be left behind and paid for. Where it finds
    one, it plans again with it instead.
    """

    present: bool
    resource_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Emit:
    """An event on the Workspace: only if a condition changes."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAgain:
    """Plan again after so many seconds, whatever happens meanwhile."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LookFor:
    """Alone in its plan: look for these, and plan again at once with `Observed.absent`."""

    needs: tuple[Need, ...]


Action = LookFor | Apply | Delete | WriteStatus | SetFinalizer | Emit | LookAgain
