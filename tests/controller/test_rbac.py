"""What is granted is what is used: no verb more, none less."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from berth.controller import rbac
from berth.controller.kinds import (
    CHILDREN,
    CONFIG_MAP,
    NODE_CLAIM,
    SERVICE,
    WATCHED,
    WORKSPACE,
    Kind,
)
from berth.controller.rbac import GRANTS, NotGranted
from berth.workspace.actions import Action, Delete, Emit, LookFor
from berth.workspace.needs import Need
from berth.workspace.observed import Observed
from controller.direct import Bench, claim, service
from controller.simulator.scenarios import BY_NAME, PAIRS
from controller.simulator.simulation import Simulation

_MEANS = {
    "list": ["list"],
    "get": ["get"],
    "apply": ["patch", "create"],
    "create": ["create"],
    "replace": ["update"],
    "merge": ["patch"],
    "delete": ["delete"],
    "has": [],
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def _means(used: set[tuple[str, Kind]]) -> set[tuple[Kind, str, str]]:
    found = {(kind, "", one) for verb, kind in used for one in _MEANS.get(verb, [])}
    return found | {(kind, "status", "update") for verb, kind in used if verb == "status"}


def _used_in_stories() -> set[tuple[Kind, str, str]]:
    used: set[tuple[str, Kind]] = set()
    for scenario in (*BY_NAME.values(), *PAIRS[:1]):
        sim = Simulation(scenario, 1)
        sim.run()
        used |= sim.checks.used
    return _means(used)


def _deletes(kind: Kind) -> Callable[[Observed], tuple[Action, ...]]:
    where = {"namespace": "models", "name": "llama", "uid": "u"}
    action = Delete(api_version=kind.api_version, kind=kind.kind, **where)
    return lambda observed: (action,)


def _used_in_corners() -> set[tuple[Kind, str, str]]:
    """What no story comes to: children of an earlier shape, old claims, an event said again."""
    bench = Bench()
    for kind in CHILDREN:
        child = service() | {"apiVersion": kind.api_version, "kind": kind.kind}
        if kind != SERVICE:
            child["spec"] = {}
        bench.server.create(kind, child) if kind.kind != "StatefulSet" else None
        bench.read()
        bench.plan = _deletes(kind)
        bench.reconcile()
    bench.server.create(NODE_CLAIM, claim("llama-0"))
    bench.plan = lambda _: (
        Delete(
            api_version=NODE_CLAIM.api_version,
            kind=NODE_CLAIM.kind,
            namespace=None,
            name="llama-0",
            uid="an old one",
        ),
    )
    bench.reconcile()
    asked = (Need("PersistentVolumeClaim", "weights"), Need("ServiceAccount", "models"))
    bench.plan = lambda o: (LookFor(needs=asked),) if o.absent is None else ()
    bench.reconcile()
    bench.plan = lambda _: (Emit(type="Normal", reason="R", message="m"),)
    for _ in range(2):
        bench.reconcile()
        bench.later(3600)
    return _means(bench.api.used)


def test_every_verb_that_is_granted_is_used_and_every_used_one_granted() -> None:
    granted = {(g.kind, g.subresource, verb) for g in GRANTS for verb in g.verbs}
    watched = {(kind, "", "watch") for kind in (*WATCHED, NODE_CLAIM, CONFIG_MAP)}
    not_asked_by_us = {(WORKSPACE, "finalizers", "update")}  # see rbac.py
    used = _used_in_stories() | _used_in_corners() | watched | not_asked_by_us
    assert used == granted


def test_secrets_are_only_looked_for_and_pods_not_written() -> None:
    """Of a Secret the metadata is asked for, by its name: see test_api.py."""
    assert {verb for g in GRANTS if g.kind.kind == "Secret" for verb in g.verbs} == {"get"}
    assert {verb for g in GRANTS if g.kind.kind == "Pod" for verb in g.verbs} == {"list", "watch"}
    assert {verb for g in GRANTS if g.kind.kind == "Node" for verb in g.verbs} == {"list", "watch"}


def test_what_is_not_in_the_table_is_not_sent() -> None:
    rbac.check("get", CONFIG_MAP)
    with pytest.raises(NotGranted, match="list of configmaps is not in the table"):
        rbac.check("list", CONFIG_MAP)


def test_the_rules_are_as_a_role_has_them() -> None:
    assert rbac.rules("own") == [
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "verbs": ["get", "create", "update"],
        }
    ]
    watched = rbac.rules("watched")
    assert {
        "apiGroups": ["kaito.sh"],
        "resources": ["workspaces/status", "workspaces/finalizers"],
        "verbs": ["update"],
    } in watched
    assert all("*" not in str(rule) for rule in watched)
