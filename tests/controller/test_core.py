"""One reconcile: what is carried out, what stops it, and what is told."""

from __future__ import annotations

from typing import Any

import pytest

from berth.controller.errors import (
    ApiError,
    FieldConflict,
    Forbidden,
    NamespaceGoing,
    Timeout,
    TooManyRequests,
    Unavailable,
)
from berth.controller.kinds import EVENT, NODE_CLAIM, SERVICE, WORKSPACE, Key
from berth.workspace.actions import (
    Action,
    Apply,
    Delete,
    Emit,
    LookAgain,
    SetFinalizer,
    WriteStatus,
)
from berth.workspace.names import FINALIZER
from berth.workspace.observed import Observed
from controller.direct import MINE, Bench, claim, service


@pytest.fixture
def bench() -> Bench:
    return Bench()


def always(*actions: Action) -> Any:
    return lambda observed: actions


def status(bench: Bench, said: str = "x") -> WriteStatus:
    return WriteStatus(status={"endpoint": said}, resource_version=bench.version)


EVENT_SAID = Emit(type="Normal", reason="Answering", message="It answers.")


def test_an_empty_plan_asks_nothing(bench: Bench) -> None:
    outcome = bench.reconcile()
    assert (outcome.result, outcome.again) == ("settled", None)
    assert bench.api.asked == []


def test_a_workspace_that_is_gone_is_not_planned(bench: Bench) -> None:
    import asyncio

    outcome = asyncio.run(bench.reconciler.reconcile(Key("models", "other")))
    assert outcome.result == "gone"
    assert bench.seen == []


def test_actions_are_carried_out_in_their_order(bench: Bench) -> None:
    bench.plan = always(
        Apply(object=service("a")), Apply(object=service("b")), status(bench), EVENT_SAID
    )
    outcome = bench.reconcile()
    assert (outcome.result, outcome.again) == ("wrote", 0.0)
    writes = [line for line in bench.api.asked if not line.startswith(("get", "list"))]
    assert writes == [
        "apply Service a",
        "apply Service b",
        "status Workspace llama",
        "create Event",
    ]


def test_what_was_written_is_known_before_any_watch_tells(bench: Bench) -> None:
    """KAITO #2177: children made twice, because the cache did not have them yet."""
    bench.plan = always(Apply(object=service()))
    bench.reconcile()
    bench.plan = always()
    bench.reconcile()
    assert [c["metadata"]["name"] for c in bench.seen[-1].children] == ["llama"]


def test_before_something_is_made_its_name_is_asked_for(bench: Bench) -> None:
    """The cache is behind: another has made a Service of that name."""
    bench.server.create(SERVICE, service(port=1))
    bench.plan = always(Apply(object=service(port=2)), status(bench))
    outcome = bench.reconcile()
    assert (outcome.result, outcome.again) == ("wrote", 0.0)
    assert bench.api.asked == ["get Service llama"]
    bench.reconcile()
    assert bench.seen[-1].children[0]["spec"]["ports"][0]["port"] == 1


def test_before_a_claim_is_made_all_claims_are_asked_for(bench: Bench) -> None:
    bench.server.create(NODE_CLAIM, claim("llama-1"))
    bench.plan = always(Apply(object=claim("llama-0")))
    bench.reconcile()
    assert bench.api.asked == ["list NodeClaim"]
    bench.reconcile()
    assert bench.seen[-1].claims is not None
    assert [c["metadata"]["name"] for c in bench.seen[-1].claims] == ["llama-1"]


def test_an_apply_of_what_was_made_anew_meanwhile_changes_nothing(bench: Bench) -> None:
    old = bench.server.create(SERVICE, service(port=1))
    bench.read()
    bench.server.delete(SERVICE, "models", "llama")
    bench.server.create(SERVICE, service(port=7))
    bench.plan = always(Apply(object=service(port=2), uid=old["metadata"]["uid"]))
    outcome = bench.reconcile()
    assert outcome.result == "failed"
    assert bench.server.get(SERVICE, "models", "llama")["spec"]["ports"][0]["port"] == 7
    bench.plan = always()
    bench.reconcile()
    assert bench.seen[-1].children[0]["spec"]["ports"][0]["port"] == 7, "it was read again"


def test_a_delete_of_what_was_made_anew_meanwhile_deletes_nothing(bench: Bench) -> None:
    old = bench.server.create(SERVICE, service(port=1))
    bench.read()
    bench.server.delete(SERVICE, "models", "llama")
    bench.server.create(SERVICE, service(port=7))
    uid = old["metadata"]["uid"]
    bench.plan = always(
        Delete(api_version="v1", kind="Service", namespace="models", name="llama", uid=uid)
    )
    assert bench.reconcile().result == "failed"
    assert bench.server.find(SERVICE, "models", "llama") is not None


def test_a_delete_of_what_is_gone_is_done(bench: Bench) -> None:
    old = bench.server.create(SERVICE, service())
    bench.read()
    bench.server.delete(SERVICE, "models", "llama")
    uid = old["metadata"]["uid"]
    bench.plan = always(
        Delete(api_version="v1", kind="Service", namespace="models", name="llama", uid=uid)
    )
    assert bench.reconcile().result == "wrote"


def test_a_status_for_an_old_version_is_not_written(bench: Bench) -> None:
    bench.plan = always(status(bench), EVENT_SAID)
    bench.server.merge(WORKSPACE, *MINE, {"resource": {"count": 2}})
    outcome = bench.reconcile()
    assert outcome.result == "failed"
    assert "status" not in bench.workspace
    assert bench.server.search(EVENT) == []
    assert bench.store.get(WORKSPACE, *MINE) == bench.workspace, "it was read again"


def test_a_status_after_our_own_finalizer_has_the_right_version(bench: Bench) -> None:
    version = bench.version
    bench.plan = always(
        SetFinalizer(present=True, resource_version=version),
        WriteStatus(status={"endpoint": "x"}, resource_version=version),
    )
    assert bench.reconcile().result == "wrote"
    assert bench.workspace["status"] == {"endpoint": "x"}
    assert bench.workspace["metadata"]["finalizers"] == [FINALIZER]


def test_other_people_s_finalizers_stay(bench: Bench) -> None:
    bench.server.merge(WORKSPACE, *MINE, {"metadata": {"finalizers": ["other/one", FINALIZER]}})
    bench.read()
    bench.plan = always(SetFinalizer(present=False, resource_version=bench.version))
    bench.reconcile()
    assert bench.workspace["metadata"]["finalizers"] == ["other/one"]


def test_the_finalizer_stays_while_the_server_has_a_claim(bench: Bench) -> None:
    bench.server.merge(WORKSPACE, *MINE, {"metadata": {"finalizers": [FINALIZER]}})
    bench.read()
    bench.server.create(NODE_CLAIM, claim("llama-0"))
    bench.plan = always(SetFinalizer(present=False, resource_version=bench.version))
    assert bench.reconcile().again == 0.0
    assert bench.workspace["metadata"]["finalizers"] == [FINALIZER]


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (Unavailable("503"), 0.0),
        (Timeout("no answer"), 0.0),
        (TooManyRequests("slow down", retry_after=7), 7.0),
    ],
)
def test_a_server_that_cannot_be_used_is_left_alone(
    bench: Bench, error: ApiError, wait: float
) -> None:
    bench.api.fails["apply Service a"] = error
    bench.plan = always(Apply(object=service("a")), Apply(object=service("b")), status(bench))
    outcome = bench.reconcile()
    assert (outcome.result, outcome.at_least) == ("failed", wait)
    assert bench.api.asked == ["get Service a", "apply Service a"]


@pytest.mark.parametrize(
    "error",
    [FieldConflict("helm owns spec.ports"), Forbidden("quota"), NamespaceGoing("terminating")],
)
def test_what_is_refused_is_told_to_the_planner_and_not_fought(
    bench: Bench, error: ApiError
) -> None:
    """C3: a second writer owns a field."""
    bench.api.fails["apply Service a"] = error
    bench.plan = lambda observed: (
        Apply(object=service("a")),
        *(() if observed.children else (Apply(object=service("b")),)),
        *(() if observed.workspace.get("status") else (status(bench, "told"),)),
    )
    outcome = bench.reconcile()
    assert (outcome.result, outcome.again) == ("refused", 0.0)
    assert "apply Service b" in bench.api.asked, "the others are not held up"
    assert "status" not in bench.workspace, "it was planned without knowing of the refusal"
    outcome = bench.reconcile()
    assert [(r.kind, r.name, r.message) for r in bench.seen[-1].rejected] == [
        ("Service", "a", str(error))
    ]
    assert bench.workspace["status"] == {"endpoint": "told"}
    outcome = bench.reconcile()
    assert (outcome.result, outcome.again) == ("refused", 300.0), "no hurry any more"


def test_a_refusal_is_forgotten_once_the_write_succeeds(bench: Bench) -> None:
    bench.api.fails["apply Service a"] = Forbidden("quota")
    bench.plan = always(Apply(object=service("a")))
    bench.reconcile()
    bench.api.fails.clear()
    bench.reconcile()
    assert len(bench.seen[-1].rejected) == 1
    bench.plan = always()
    bench.reconcile()
    assert not bench.seen[-1].rejected


def test_a_refusal_is_forgotten_where_the_write_is_not_wanted_any_more(bench: Bench) -> None:
    bench.api.fails["apply Service a"] = Forbidden("quota")
    bench.plan = always(Apply(object=service("a")))
    bench.reconcile()
    bench.plan = always()
    assert bench.reconcile().again == 30.0
    bench.reconcile()
    assert bench.seen[-1].rejected == ()


def test_an_event_that_is_refused_holds_up_nothing(bench: Bench) -> None:
    bench.api.fails["create Event"] = Forbidden("no")
    bench.plan = always(EVENT_SAID, Apply(object=service()))
    bench.reconcile()
    assert bench.server.find(SERVICE, "models", "llama") is not None


def test_nothing_is_written_once_the_lease_is_lost(bench: Bench) -> None:
    def lose(observed: Observed) -> tuple[Action, ...]:
        bench.leads = False
        return Apply(object=service()), status(bench)

    bench.plan = lose
    assert bench.reconcile().result == "not_leader"
    assert not any(line.startswith(("apply", "status")) for line in bench.api.asked)


def test_the_soonest_look_counts(bench: Bench) -> None:
    bench.plan = always(LookAgain(seconds=60), LookAgain(seconds=5))
    assert bench.reconcile().again == 5


def test_an_event_is_said_once_and_then_counted(bench: Bench) -> None:
    """C5: at most one event."""
    bench.plan = always(EVENT_SAID)
    for _ in range(3):
        bench.reconcile()
        bench.later(60)
    assert [event["count"] for event in bench.server.search(EVENT)] == [1]
    bench.later(600)
    bench.reconcile()
    (said,) = bench.server.search(EVENT)
    assert said["count"] == 2
    assert said["involvedObject"]["uid"] == bench.workspace["metadata"]["uid"]


def test_even_ever_new_events_are_limited(bench: Bench) -> None:
    for number in range(60):
        bench.plan = always(Emit(type="Normal", reason="R", message=f"number {number}"))
        bench.reconcile()
    assert len(bench.server.search(EVENT)) == 25


def test_what_the_planner_raises_goes_through(bench: Bench) -> None:
    def broken(observed: Observed) -> tuple[Action, ...]:
        raise KeyError("a mistake")

    bench.plan = broken
    with pytest.raises(KeyError):
        bench.reconcile()


def test_warnings_are_read_only_where_something_is_wrong(bench: Bench) -> None:
    bench.reconcile()
    assert "list Event" not in bench.api.asked
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "models",
            "name": "llama-0",
            "labels": {"kaito.sh/workspace": "llama"},
        },
        "status": {"phase": "Pending"},
    }
    from berth.controller.kinds import POD

    made = bench.server.create(POD, pod)
    about = {"kind": "Pod", "name": "llama-0", "uid": made["metadata"]["uid"]}
    for name, involved in (("mine", about), ("other", {**about, "uid": "another"})):
        bench.server.create(
            EVENT,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"namespace": "models", "name": name},
                "type": "Warning",
                "involvedObject": involved,
            },
        )
    bench.read()
    bench.reconcile()
    assert [event["metadata"]["name"] for event in bench.seen[-1].events] == ["mine"]


def test_events_that_may_not_be_read_are_only_missing(bench: Bench) -> None:
    bench.server.create(SERVICE, service())
    bench.server.merge(WORKSPACE, *MINE, {"metadata": {"finalizers": [FINALIZER]}})
    bench.read()
    bench.api.fails["list Event"] = Forbidden("events")
    assert bench.reconcile().result == "settled"
    assert bench.seen[-1].events == ()
