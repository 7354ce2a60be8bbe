"""What to do about one Workspace now. Pure: the same Observed and time give the same plan.

A plan is small steps towards one fixpoint: if everything is as wanted, it is empty. A controller
that is interrupted between two steps goes on from what is then there.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from berth.cluster.fields import Json, is_going, name_of, text, uid_of
from berth.workspace.actions import (
    Action,
    Apply,
    Delete,
    Emit,
    LookAgain,
    LookFor,
    SetFinalizer,
    WriteStatus,
)
from berth.workspace.assess import Assessment, assess
from berth.workspace.claims import delete_claim, has_finalizer, own_claims
from berth.workspace.conditions import Conditions, ending_status, judge
from berth.workspace.diff import is_current, must_be_made_anew, was_applied
from berth.workspace.observed import Observed
from berth.workspace.reasons import Reason
from berth.workspace.restarts import consider
from berth.workspace.spec import Identity, identity

_GOING_SECONDS = 5.0  # until something that is being deleted is looked at again
_KEPT_SECONDS = 10.0  # while pods are kept that should be replaced
_WAIT_SECONDS = 30.0  # while it is not ready for a reason that no watch of ours tells of
_CONFIG_SECONDS = 60.0  # should the watch on its ConfigMap have missed something


def plan(observed: Observed, now: datetime) -> tuple[Action, ...]:
    """The actions, in their order. Never raises, whatever odd objects the cluster holds.

    Args:
        now: aware, in UTC.
    """
    who = identity(observed)
    if who is None:
        return ()
    if is_going(observed.workspace):
        return _end(observed, who, now)
    found = consider(assess(observed, who, now))
    if found.looks_for:
        return (LookFor(needs=found.looks_for),)
    judged = judge(found)
    actions: list[Action] = []
    look_again: list[float] = list(judged.look_again)
    if found.claims is not None:
        if found.claims.needs_finalizer:
            # On its own: it changes the resourceVersion that everything else would need.
            return (SetFinalizer(present=True, resource_version=who.resource_version),)
        actions += found.claims.actions
        if found.claims.look_again is not None:
            look_again.append(found.claims.look_again)
    writes, going = _writes(found)
    actions += writes
    if going:
        look_again.append(_GOING_SECONDS)
    actions += _tell(observed, who, judged)
    if _needs_no_finalizer(found) and not any(isinstance(a, WriteStatus) for a in actions):
        actions.append(SetFinalizer(present=False, resource_version=who.resource_version))
    if judged.waits:
        look_again.append(_WAIT_SECONDS)
    if text(observed.workspace, "inference", "config"):
        look_again.append(_CONFIG_SECONDS)
    if found.waits_for_surge:
        look_again.append(_KEPT_SECONDS)
    if found.behind is not None and found.behind.reason in (
        Reason.NeedsMissing,
        Reason.WaitsForTurn,
        Reason.RollingOut,
    ):
        look_again.append(_KEPT_SECONDS)
    if look_again:
        actions.append(LookAgain(seconds=max(min(look_again), 1.0)))
    return tuple(actions)


def _end(observed: Observed, who: Identity, now: datetime) -> tuple[Action, ...]:
    """The owner references see to everything but the claims, which have no namespace."""
    claims = own_claims(observed, who)
    actions: list[Action] = [delete_claim(claim) for claim in claims if not is_going(claim)]
    if not has_finalizer(observed):
        return tuple(actions)
    if not claims:
        return (SetFinalizer(present=False, resource_version=who.resource_version),)
    judged = ending_status(observed, who, [name_of(claim) for claim in claims], now)
    return (*actions, *_tell(observed, who, judged), LookAgain(seconds=_WAIT_SECONDS))


def _tell(observed: Observed, who: Identity, judged: Conditions) -> list[Action]:
    """Status and events, if they say something new."""
    if not judged.changed:
        return []
    written = WriteStatus(status=judged.status, resource_version=who.resource_version)
    events = [Emit(type=one.type, reason=one.reason, message=one.message) for one in judged.news]
    return [written, *events]


def _writes(found: Assessment) -> tuple[list[Action], bool]:
    """Applies and deletes; and whether something has to be gone first."""
    if not found.wanted or _taken(found):
        there = found.surge_live  # of a generation that is not wanted any more
        ended = there is not None and not found.wanted and not is_going(there)
        return [_delete(there)] if there is not None and ended else [], False
    actions: list[Action] = []
    going = False
    for wanted in (*found.wanted, *([] if found.surge is None else [found.surge])):
        if found.waits_for_surge and wanted is found.wanted_stateful_set:
            continue
        live = found.children.own.get((wanted["kind"], wanted["metadata"]["name"]))
        if live is None:
            turn = found.takes_turn and wanted is found.surge
            actions.append(Apply(object=wanted, takes_turn=turn))
        elif is_going(live):
            going = True
        elif is_current(wanted, live):
            continue
        elif wanted["kind"] == "StatefulSet" and _anew(wanted, live):
            actions.append(replace(_delete(live), takes_turn=found.takes_turn))
            going = True
        else:
            turn = found.takes_turn and wanted["kind"] == "StatefulSet"
            actions.append(Apply(object=wanted, uid=uid_of(live), takes_turn=turn))
    return actions + _orphans(found), going


def _anew(wanted: Json, live: Json) -> bool:
    """Whether it has to be deleted first: for a fixed field, or because pods of two versions
    make no group. The pods' end is then theirs together."""
    if must_be_made_anew(wanted, live):
        return True
    on_delete = "OnDelete"
    groups = (text(one, "spec", "updateStrategy", "type") == on_delete for one in (wanted, live))
    return any(groups) and not was_applied(wanted, live)


def _orphans(found: Assessment) -> list[Action]:
    """Our objects of an earlier shape."""
    kept = {(wanted["kind"], wanted["metadata"]["name"]) for wanted in found.wanted}
    if found.surge is not None:
        kept.add(("StatefulSet", found.surge["metadata"]["name"]))
    return [
        _delete(live)
        for key, live in sorted(found.children.own.items())
        if key not in kept and not is_going(live) and uid_of(live)
    ]


def _taken(found: Assessment) -> bool:
    """Whether an object of a name that is needed has another owner."""
    return any(
        (wanted["kind"], wanted["metadata"]["name"]) in found.children.foreign
        for wanted in found.wanted
    )


def _delete(live: Json) -> Delete:
    return Delete(
        api_version=text(live, "apiVersion"),
        kind=text(live, "kind"),
        namespace=text(live, "metadata", "namespace"),
        name=name_of(live),
        uid=uid_of(live),
    )


def _needs_no_finalizer(found: Assessment) -> bool:
    """It is there for claims, and there are none and none are asked for."""
    if not has_finalizer(found.observed) or own_claims(found.observed, found.who):
        return False
    return found.claims is None or (found.claims.ready and not found.claims.actions)
