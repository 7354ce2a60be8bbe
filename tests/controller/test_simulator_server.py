"""The simulator's API server does what Kubernetes documents; the schedules stand on it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from berth.controller.errors import (
    AlreadyExists,
    Conflict,
    FieldConflict,
    NamespaceGoing,
    NotFound,
)
from berth.controller.kinds import NODE_CLAIM, SERVICE, STATEFUL_SET, WORKSPACE
from controller.direct import service
from controller.simulator.objects import workspace
from controller.simulator.server import Change, Server

AT = ("models", "llama")


@pytest.fixture
def server() -> Server:
    return Server(lambda: datetime(2026, 11, 21, tzinfo=UTC))


def stateful_set(**containers: dict[str, Any]) -> dict[str, Any]:
    """Containers by name, each with what is given of it."""
    pod = {"containers": [{"name": name, **given} for name, given in containers.items()]}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"namespace": "models", "name": "llama"},
        "spec": {"template": {"metadata": {}, "spec": pod}},
    }


def containers(server: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.get(STATEFUL_SET, *AT)["spec"]["template"]["spec"][
        "containers"
    ]
    return found


def test_an_apply_makes_what_is_not_there_and_then_changes_only_what_differs(
    server: Server,
) -> None:
    first = server.apply(SERVICE, service(), "berth")
    again = server.apply(SERVICE, service(), "berth")
    assert again == first, "no new version, no event"
    changed = server.apply(SERVICE, service(port=81), "berth")
    assert int(changed["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    assert changed["metadata"]["generation"] == 2


def test_a_field_that_another_changed_is_theirs(server: Server) -> None:
    server.apply(STATEFUL_SET, stateful_set(main={"image": "a"}), "berth")
    mine = stateful_set(main={"image": "b"})
    server.merge(STATEFUL_SET, *AT, {"spec": {"replicas": 0}}, "kubectl-edit")
    server.apply(STATEFUL_SET, mine, "berth")
    assert server.get(STATEFUL_SET, *AT)["spec"]["replicas"] == 0, "not applied, so not disputed"
    wanted = {**mine, "spec": {**mine["spec"], "replicas": 1}}
    with pytest.raises(FieldConflict, match=r'spec\.replicas: conflict with "kubectl-edit"'):
        server.apply(STATEFUL_SET, wanted, "berth")
    wanted["spec"]["replicas"] = 0
    server.apply(STATEFUL_SET, wanted, "berth")  # the same value is shared


def test_a_field_that_is_not_applied_any_more_goes(server: Server) -> None:
    server.apply(STATEFUL_SET, stateful_set(main={"image": "a", "workingDir": "/x"}), "berth")
    server.apply(STATEFUL_SET, stateful_set(main={"image": "a"}), "berth")
    assert "workingDir" not in containers(server)[0]


def test_lists_of_named_things_are_merged_by_name(server: Server) -> None:
    server.apply(STATEFUL_SET, stateful_set(main={"image": "a"}), "berth")
    server.apply(STATEFUL_SET, stateful_set(side={"image": "s"}), "mesh")
    server.apply(STATEFUL_SET, stateful_set(main={"image": "b"}), "berth")
    assert [(one["name"], one["image"]) for one in containers(server)] == [
        ("main", "b"),
        ("side", "s"),
    ]


def test_defaults_and_spellings_are_not_disputes(server: Server) -> None:
    limits = {"resources": {"limits": {"memory": "2048Mi", "cpu": "1000m"}}}
    first = server.apply(STATEFUL_SET, stateful_set(main={"image": "a", **limits}), "berth")
    assert containers(server)[0]["resources"]["limits"] == {"memory": "2Gi", "cpu": "1"}
    assert containers(server)[0]["imagePullPolicy"] == "IfNotPresent"
    again = server.apply(STATEFUL_SET, stateful_set(main={"image": "a", **limits}), "berth")
    assert again == first


def test_a_uid_is_a_precondition(server: Server) -> None:
    old = service() | {"metadata": {**service()["metadata"], "uid": "uid-of-another"}}
    with pytest.raises(Conflict):
        server.apply(SERVICE, old, "berth")
    server.apply(SERVICE, service(), "berth")
    with pytest.raises(Conflict):
        server.apply(SERVICE, old, "berth")
    with pytest.raises(Conflict):
        server.delete(SERVICE, *AT, "uid-of-another")
    server.delete(SERVICE, *AT, server.get(SERVICE, *AT)["metadata"]["uid"])


def test_a_version_is_a_precondition(server: Server) -> None:
    made = server.create(WORKSPACE, workspace())
    server.merge(WORKSPACE, *AT, {"metadata": {"labels": {"a": "b"}}})
    with pytest.raises(Conflict):
        server.replace_status(WORKSPACE, {**made, "status": {}})
    version = made["metadata"]["resourceVersion"]
    with pytest.raises(Conflict):
        server.merge(WORKSPACE, *AT, {"metadata": {"resourceVersion": version, "finalizers": []}})


def test_status_and_the_rest_are_written_apart(server: Server) -> None:
    server.create(WORKSPACE, workspace())
    now = server.get(WORKSPACE, *AT)
    told = server.replace_status(WORKSPACE, {**now, "resource": None, "status": {"endpoint": "x"}})
    assert told["resource"] == now["resource"]
    assert told["metadata"]["generation"] == 1
    again = server.replace(WORKSPACE, {**told, "status": {}, "resource": {"count": 2}})
    assert again["status"] == {"endpoint": "x"}
    assert again["metadata"]["generation"] == 2


def test_finalizers_hold_what_is_deleted(server: Server) -> None:
    seen: list[Change] = []
    server.on_change = seen.append
    obj = workspace()
    obj["metadata"]["finalizers"] = ["a/b"]
    server.create(WORKSPACE, obj)
    held = server.delete(WORKSPACE, *AT)
    assert held is not None
    assert held["metadata"]["deletionTimestamp"]
    server.merge(WORKSPACE, *AT, {"metadata": {"finalizers": []}})
    assert server.find(WORKSPACE, *AT) is None
    assert seen[-1].type == "deleted"
    versions = [change.version for change in seen]
    assert versions == sorted(set(versions)), "every change has a version of its own"


def test_what_cannot_be_made(server: Server) -> None:
    server.create(SERVICE, service())
    with pytest.raises(AlreadyExists):
        server.create(SERVICE, service())
    server.going.add("models")
    with pytest.raises(NamespaceGoing):
        server.apply(SERVICE, service("other"), "berth")
    server.missing.add(NODE_CLAIM)
    with pytest.raises(NotFound):
        server.search(NODE_CLAIM)


def test_what_was_read_stays_what_it_was(server: Server) -> None:
    before = server.apply(SERVICE, service(), "berth")
    server.apply(SERVICE, service(port=81), "berth")
    assert before["spec"]["ports"][0]["port"] == 80
