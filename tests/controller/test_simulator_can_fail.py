"""Controllers with one mistake each: the simulator must find it, or its checks are empty."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any

import pytest

from berth.controller.core import Reconciler
from berth.controller.kinds import Key, Kind, kind_of
from berth.controller.loop import Controller
from berth.controller.queue import WorkQueue
from berth.workspace.actions import Action, Apply, Delete, SetFinalizer, WriteStatus
from berth.workspace.observed import Observed
from berth.workspace.plan import plan
from controller.simulator.faults import Faults
from controller.simulator.scenarios import BY_NAME, PAIRS
from controller.simulator.schedules import drawn, undisturbed
from controller.simulator.simulation import Scenario, Simulation


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def _run_all(scenario: Scenario, faults: Iterable[Faults], end: object = None) -> None:
    for seed, one in enumerate((Faults(), *faults)):
        found = Simulation(scenario, seed, one).run()
        assert end is None or found == end, "another end"


def _found(mistaken: Scenario, right: Scenario, faults: Iterable[Faults] | None = None) -> str:
    """What the first failing schedule says; fails the test where none does."""
    end, _ = undisturbed(right)  # the right one holds
    schedules = [drawn(seed, right.controllers) for seed in range(40)] if faults is None else faults
    with pytest.raises(AssertionError) as caught:
        _run_all(mistaken, schedules, end)
    return str(caught.value)


def _with_plan(name: str, mistaken: Any, **more: Any) -> str:
    right = BY_NAME[name]
    return _found(replace(right, plan=mistaken, **more), right)


def _change_conditions(actions: tuple[Action, ...], **changes: Any) -> tuple[Action, ...]:
    return tuple(
        replace(
            action,
            status={
                **action.status,
                "conditions": [{**c, **changes} for c in action.status["conditions"]],
            },
        )
        if isinstance(action, WriteStatus)
        else action
        for action in actions
    )


def test_a_plan_that_says_true_too_early() -> None:
    def mistaken(observed: Observed, now: datetime) -> tuple[Action, ...]:
        return _change_conditions(plan(observed, now), status="True")

    assert "which last held None" in _with_plan("own gpu node", mistaken)


def test_a_plan_that_keeps_true_of_an_old_generation() -> None:
    """It copies the conditions that are there and only writes the new generation on them."""

    def mistaken(observed: Observed, now: datetime) -> tuple[Action, ...]:
        before = (observed.workspace.get("status") or {}).get("conditions")
        generation = observed.workspace["metadata"]["generation"]
        if not before or before[0]["observedGeneration"] == generation:
            return plan(observed, now)
        kept = [{**c, "observedGeneration": generation} for c in before]
        status = {**observed.workspace["status"], "conditions": kept}
        version = observed.workspace["metadata"]["resourceVersion"]
        written = WriteStatus(
            status={**status, "observedGeneration": generation}, resource_version=version
        )
        return (written, *(a for a in plan(observed, now) if isinstance(a, Apply)))

    assert "is true of generation" in _with_plan("changed twice quickly", mistaken)


def test_a_plan_that_always_has_something_new_to_say() -> None:
    def mistaken(observed: Observed, now: datetime) -> tuple[Action, ...]:
        actions = plan(observed, now)
        if any(isinstance(action, WriteStatus) for action in actions):
            return actions
        said = {**(observed.workspace.get("status") or {}), "endpoint": f"seen at {now}"}
        version = observed.workspace["metadata"]["resourceVersion"]
        return (*actions, WriteStatus(status=said, resource_version=version))

    assert "written without a change" in _with_plan("own gpu node", mistaken)


def test_a_plan_that_applies_what_is_there_already() -> None:
    """The API server changes nothing then, but it is asked at every look."""

    def mistaken(observed: Observed, now: datetime) -> tuple[Action, ...]:
        actions = plan(observed, now)
        own = [c for c in observed.children if c["kind"] == "PodDisruptionBudget"]
        again = tuple(
            Apply(
                object={
                    "apiVersion": "policy/v1",
                    "kind": "PodDisruptionBudget",
                    "metadata": {
                        k: c["metadata"][k]
                        for k in ("name", "namespace", "labels", "ownerReferences", "annotations")
                    },
                    "spec": c["spec"],
                },
                uid=c["metadata"]["uid"],
            )
            for c in own
        )
        return (*again, *actions)

    assert "written without a change" in _with_plan("own gpu node", mistaken)


def _random_names() -> Any:
    numbers = count()

    def mistaken(observed: Observed, now: datetime) -> tuple[Action, ...]:
        return tuple(
            replace(a, object={**a.object, "metadata": {**a.object["metadata"], "name": name}})
            if isinstance(a, Apply) and a.object["kind"] == "NodeClaim"
            else a
            for a in plan(observed, now)
            for name in (f"llama-8832d334-{next(numbers)}",)
        )

    return mistaken


class _Trusting(Reconciler):
    """Makes NodeClaims without asking the API server which there are."""

    async def _has_more(self, run: Any, kind: Kind, namespace: str | None, name: str) -> bool:
        return False


def test_claims_with_names_that_follow_from_nothing() -> None:
    """A write that was carried out and whose answer was lost is then carried out twice."""
    right = BY_NAME["provisioned"]
    mistaken = replace(right, plan=_random_names(), reconciler=_Trusting)
    lossy = [Faults(request=0.4, drop=0.9, until=100)] * 40
    assert "NodeClaim made twice" in _found(mistaken, right, lossy)


def test_asking_before_making_a_claim_would_catch_even_those() -> None:
    scenario = replace(BY_NAME["provisioned"], plan=_random_names())
    _run_all(scenario, [Faults(request=0.4, drop=0.9, until=100)] * 40)


def test_a_finalizer_that_is_never_set() -> None:
    def mistaken(observed: Observed, now: datetime) -> tuple[Action, ...]:
        held = {**observed.workspace["metadata"], "finalizers": ["workspace.finalizer.kaito.sh"]}
        if "deletionTimestamp" in held:
            return plan(observed, now)
        workspace = {**observed.workspace, "metadata": held}
        return tuple(
            a
            for a in plan(replace(observed, workspace=workspace), now)
            if not isinstance(a, SetFinalizer)
        )

    said = _with_plan("deleted while the node is launched", mistaken)
    assert "orphan: NodeClaim" in said


def test_a_finalizer_that_is_taken_away_before_the_claims_are_gone() -> None:
    class Hasty(Reconciler):
        async def _list_claims(self, run: Any) -> Any:
            return ()

    def mistaken(observed: Observed, now: datetime) -> tuple[Action, ...]:
        actions = plan(observed, now)
        if "deletionTimestamp" not in observed.workspace["metadata"]:
            return actions
        version = observed.workspace["metadata"]["resourceVersion"]
        return (SetFinalizer(present=False, resource_version=version),)

    said = _with_plan("deleted while the node is launched", mistaken, reconciler=Hasty)
    assert "orphan: NodeClaim" in said


def test_a_core_that_ignores_uids() -> None:
    """It changes the Service that a user put in the place of ours."""

    class Careless(Reconciler):
        async def _apply(self, run: Any, action: Apply) -> None:
            run.writes += 1
            self.store.upsert(_kind(action), await self.api.apply(_kind(action), action.object))

    def _kind(action: Apply) -> Kind:
        return kind_of(action.object["apiVersion"], action.object["kind"])

    right = BY_NAME["service replaced by hand"]
    said = _found(replace(right, reconciler=Careless), right)
    assert "of another's Service" in said


def test_a_core_that_does_not_ask_for_the_lease() -> None:
    class Deaf(Reconciler):
        def _ask(self) -> None:
            return

    mistaken = replace(PAIRS[1], reconciler=Deaf)
    stops = [((0, tenth / 10, 40.0), (1, tenth / 10, 40.0)) for tenth in range(1, 60)]
    said = _found(mistaken, PAIRS[1], [Faults(frozen=both, slow_watch=2.0) for both in stops])
    assert "without the lease" in said


def test_a_controller_that_never_lists_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watches lose events; without a resync, the mistake lasts for ever."""
    first = Controller.resync

    async def once(self: Controller) -> None:
        if not self.synced:
            await first(self)

    right = BY_NAME["workload deleted by hand"]
    undisturbed(right)
    monkeypatch.setattr(Controller, "resync", once)
    _found(right, right, [Faults(drop=0.5, until=200)] * 30)


def test_a_queue_without_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    first = WorkQueue.done

    def eager(self: WorkQueue, key: Key, now: float, **_: Any) -> None:
        first(self, key, now)
        self._entries[key].ready_at = now
        self.add(key, now)

    right = BY_NAME["own gpu node"]
    undisturbed(right)
    monkeypatch.setattr(WorkQueue, "done", eager)
    with pytest.raises(AssertionError, match="hot loop"):
        Simulation(right, 1, Faults(outages=((0.5, 120.0),))).run()


def test_a_delete_of_what_has_only_the_name() -> None:
    """Where the uid of a Delete is ignored, the user's object goes instead of ours."""

    class Careless(Reconciler):
        async def _delete(self, run: Any, action: Delete) -> None:
            kind = kind_of(action.api_version, action.kind)
            there = await self.api.get(kind, action.namespace, action.name)
            uid = there["metadata"]["uid"]
            await super()._delete(run, replace(action, uid=uid))

    def mistaken(observed: Observed, now: datetime) -> tuple[Action, ...]:
        """Wants the Service away, as for an object of an earlier shape."""
        own = [
            c
            for c in observed.children
            if c["kind"] == "Service" and c["metadata"]["name"] == "llama"
            if c["metadata"].get("ownerReferences")
            and c["spec"]["selector"] == {"kaito.sh/workspace": "x"}
        ]
        return tuple(
            Delete(
                api_version="v1",
                kind="Service",
                namespace=c["metadata"]["namespace"],
                name="llama",
                uid=c["metadata"]["uid"],
            )
            for c in own
        ) or plan(observed, now)

    right = BY_NAME["service replaced by hand"]
    late = [Faults(slow_watch=3.0)] * 20
    _run_all(replace(right, plan=mistaken), late)
    said = _found(replace(right, plan=mistaken, reconciler=Careless), right, late)
    assert "of another's Service" in said
