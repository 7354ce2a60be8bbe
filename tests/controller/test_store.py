"""The store: late, repeated and reordered news do no harm."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from berth.controller.kinds import NODE_CLAIM, POD, SERVICE, STATEFUL_SET, WORKSPACE, Key
from berth.controller.store import Store
from berth.workspace.names import NAMESPACE_LABEL, WORKSPACE_LABEL, label_value

MINE = Key("models", "llama")


def thing(version: int, name: str = "llama", uid: str = "u1", **meta: Any) -> dict[str, Any]:
    m = {"namespace": "models", "name": name, "uid": uid, "resourceVersion": str(version), **meta}
    return {"metadata": m, "version": version}


def labelled(version: int, name: str, workspace: str = "llama", **meta: Any) -> dict[str, Any]:
    return thing(version, name, labels={WORKSPACE_LABEL: label_value(workspace)}, **meta)


@pytest.fixture
def store() -> Store:
    return Store()


def version(store: Store) -> int | None:
    found = store.get(SERVICE, "models", "llama")
    return None if found is None else int(found["version"])


@pytest.mark.parametrize("order", list(itertools.permutations([1, 2, 3])))
def test_the_newest_stays_in_whatever_order_it_comes(order: tuple[int, ...]) -> None:
    store = Store()
    for number in (*order, *order):
        store.upsert(SERVICE, thing(number))
    assert version(store) == 3


def test_old_news_of_what_is_gone_do_not_bring_it_back(store: Store) -> None:
    store.upsert(SERVICE, thing(2))
    store.remove(SERVICE, thing(5))
    assert store.upsert(SERVICE, thing(3)) is None
    assert version(store) is None
    assert store.upsert(SERVICE, thing(6, uid="u2")) is not None


def test_a_late_end_does_not_take_away_what_was_made_anew(store: Store) -> None:
    store.upsert(SERVICE, thing(7, uid="u2"))
    assert store.remove(SERVICE, thing(5, uid="u1")) is None
    assert version(store) == 7


def test_a_listing_takes_away_what_it_does_not_have(store: Store) -> None:
    store.upsert(SERVICE, thing(2))
    changes = store.replace(SERVICE, None, [], 9)
    assert [(before is not None, after) for before, after in changes] == [(True, None)]
    assert store.upsert(SERVICE, thing(8)) is None, "it is older than the listing"
    assert store.upsert(SERVICE, thing(10)) is not None


def test_an_old_listing_does_not_take_away_what_is_newer(store: Store) -> None:
    store.upsert(SERVICE, thing(12))
    store.replace(SERVICE, None, [], 9)
    assert version(store) == 12


def test_a_listing_of_one_namespace_leaves_the_others_alone(store: Store) -> None:
    store.upsert(SERVICE, thing(2))
    store.replace(SERVICE, "elsewhere", [], 9)
    assert version(store) == 2


def test_a_long_name_is_found_by_its_short_label(store: Store) -> None:
    name = "a-name-that-is-longer-than-the-sixty-three-characters-of-a-label-s-value"
    store.upsert(WORKSPACE, thing(1, name))
    pod = labelled(2, "pod", name)
    change = store.upsert(POD, pod)
    assert change is not None
    assert store.affected(POD, change) == [Key("models", name)]
    assert len(store.of(POD, Key("models", name))) == 1


def test_a_claim_names_its_workspace_s_namespace(store: Store) -> None:
    store.upsert(WORKSPACE, thing(1))
    store.has_claims = True
    labels = {WORKSPACE_LABEL: "llama", NAMESPACE_LABEL: "models"}
    claim = {"metadata": {"name": "c", "uid": "c", "resourceVersion": "2", "labels": labels}}
    change = store.upsert(NODE_CLAIM, claim)
    assert change is not None
    assert store.affected(NODE_CLAIM, change) == [MINE]
    assert store.claims(MINE) == (claim,)
    assert store.claims(Key("other", "llama")) == ()


def test_no_such_kind_is_not_the_same_as_none_of_it(store: Store) -> None:
    assert store.claims(MINE) is None


def test_a_child_is_found_by_its_owner_where_its_label_was_taken_away(store: Store) -> None:
    store.upsert(WORKSPACE, thing(1))
    owner = [{"kind": "Workspace", "name": "llama", "uid": "u1"}]
    store.upsert(STATEFUL_SET, thing(2, "other", ownerReferences=owner))
    assert [c["metadata"]["name"] for c in store.children(MINE, frozenset())] == ["other"]


def test_a_stranger_under_our_name_is_seen(store: Store) -> None:
    store.upsert(SERVICE, thing(2))
    assert len(store.children(MINE, frozenset({"llama"}))) == 1
    assert store.children(MINE, frozenset()) == ()


def test_a_change_of_label_concerns_both_workspaces(store: Store) -> None:
    store.upsert(WORKSPACE, thing(1))
    store.upsert(WORKSPACE, thing(2, "other"))
    store.upsert(SERVICE, labelled(3, "s"))
    change = store.upsert(SERVICE, labelled(4, "s", "other"))
    assert change is not None
    assert set(store.affected(SERVICE, change)) == {MINE, Key("models", "other")}


def test_of_another_s_pod_only_what_it_takes_is_kept(store: Store) -> None:
    container = {"name": "c", "image": "i", "env": [{"name": "SECRET"}], "resources": {}}
    pod = thing(1, "p", annotations={"a": "b"}, managedFields=[1])
    pod |= {"spec": {"nodeName": "n", "containers": [container]}, "status": {"phase": "Running"}}
    store.upsert(POD, pod)
    kept = store.get(POD, "models", "p")
    assert kept is not None
    assert "SECRET" not in str(kept)
    assert "annotations" not in kept["metadata"]
    assert kept["spec"]["nodeName"] == "n"
