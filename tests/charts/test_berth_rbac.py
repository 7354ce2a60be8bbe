"""charts/berth: the rights that are granted are those that the controller uses, no more."""

from __future__ import annotations

from typing import Any

import pytest

from berth.controller.rbac import GRANTS, Scope
from charts.rendered import Object, render
from charts.variants import BERTH

Right = tuple[str, str, str]  # API group, resource, verb


def used(*scopes: Scope) -> set[Right]:
    return {
        (grant.kind.group, grant.resource, verb)
        for grant in GRANTS
        if grant.scope in scopes
        for verb in grant.verbs
    }


def granted(roles: list[Object]) -> set[Right]:
    return {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def roles_by_namespace(values: Object) -> dict[str, set[Right]]:
    given = render("berth", values)
    found: dict[str, list[Object]] = {"": given.all("ClusterRole")}
    for role in given.all("Role"):
        found.setdefault(role["metadata"]["namespace"], []).append(role)
    return {namespace: granted(roles) for namespace, roles in found.items()}


def test_cluster_wide_it_may_what_it_does_and_no_more() -> None:
    assert roles_by_namespace({}) == {"": used("cluster", "watched"), "ai": used("own")}


def test_with_namespaces_only_nodes_are_the_clusters() -> None:
    assert roles_by_namespace({"watchNamespaces": ["team-a", "ai"]}) == {
        "": used("cluster"),
        "team-a": used("watched"),
        "ai": used("own", "watched"),
    }


def test_node_claims_only_with_provisioning() -> None:
    cluster_wide = roles_by_namespace(BERTH["provisioning"])
    assert cluster_wide[""] == used("cluster", "watched", "provisioning")
    assert used("claim events") <= cluster_wide[""]
    assert roles_by_namespace(BERTH["namespaces-and-provisioning"]) == {
        "": used("cluster", "provisioning"),
        "team-a": used("watched"),
        "default": used("claim events"),
        "ai": used("own"),
    }


@pytest.mark.parametrize("values", BERTH.values(), ids=BERTH.keys())
def test_every_role_is_bound_to_the_controller_alone(values: Object) -> None:
    given = render("berth", values)
    account = next(t for name, t in given.pods() if name.startswith("Deployment"))["spec"]
    subject = {
        "kind": "ServiceAccount",
        "name": account["serviceAccountName"],
        "namespace": "ai",
    }

    def place(item: Object) -> tuple[Any, Any]:
        return item["metadata"].get("namespace"), item["metadata"]["name"]

    for kind in ("Role", "ClusterRole"):
        bindings = given.all(f"{kind}Binding")
        assert {place(item) for item in bindings} == {place(item) for item in given.all(kind)}
        for binding in bindings:
            assert binding["subjects"] == [subject]
            assert binding["roleRef"]["kind"] == kind
            assert binding["roleRef"]["name"] == binding["metadata"]["name"]


def test_workspaces_can_be_changed_but_not_made_or_deleted() -> None:
    rights = roles_by_namespace({})[""]
    verbs = {verb for group, resource, verb in rights if resource == "workspaces"}
    assert not verbs & {"create", "delete", "deletecollection"}


@pytest.mark.parametrize("namespaces", [[], ["a", "b"]])
def test_secrets_are_looked_for_only_where_the_chart_says_so(namespaces: list[str]) -> None:
    """With get alone, and in no more places than the Workspaces are watched in."""
    where = {"watchNamespaces": namespaces}
    without = roles_by_namespace(where)
    assert not any(right[1] == "secrets" for rights in without.values() for right in rights)
    granted_now = roles_by_namespace({**where, "models": {"lookForSecrets": True}})
    more = {place: rights - without[place] for place, rights in granted_now.items()}
    places = set(namespaces) or {""}
    wanted = {("", "secrets", "get")}
    assert more == {place: wanted if place in places else set() for place in granted_now}
