"""What a pod names and cannot start without."""

from __future__ import annotations

from typing import Any

import pytest

from berth.workspace.needs import Need, needs_of


def _env(**source: Any) -> dict[str, Any]:
    return {"containers": [{"name": "c", "env": [{"name": "X", "valueFrom": source}]}]}


@pytest.mark.parametrize(
    ("spec", "needed"),
    [
        ({"imagePullSecrets": [{"name": "pull"}]}, Need("Secret", "pull")),
        (_env(secretKeyRef={"name": "keys", "key": "K"}), Need("Secret", "keys")),
        (_env(configMapKeyRef={"name": "conf", "key": "K"}), Need("ConfigMap", "conf")),
        (
            {"initContainers": [{"envFrom": [{"secretRef": {"name": "keys"}}]}]},
            Need("Secret", "keys"),
        ),
        (
            {"containers": [{"envFrom": [{"configMapRef": {"name": "conf"}}]}]},
            Need("ConfigMap", "conf"),
        ),
        ({"volumes": [{"secret": {"secretName": "keys"}}]}, Need("Secret", "keys")),
        ({"volumes": [{"configMap": {"name": "conf"}}]}, Need("ConfigMap", "conf")),
        (
            {"volumes": [{"persistentVolumeClaim": {"claimName": "weights"}}]},
            Need("PersistentVolumeClaim", "weights"),
        ),
        (
            {"volumes": [{"projected": {"sources": [{"secret": {"name": "keys"}}]}}]},
            Need("Secret", "keys"),
        ),
        (
            {"volumes": [{"projected": {"sources": [{"configMap": {"name": "conf"}}]}}]},
            Need("ConfigMap", "conf"),
        ),
        (
            {"volumes": [{"csi": {"nodePublishSecretRef": {"name": "keys"}}}]},
            Need("Secret", "keys"),
        ),
        ({"serviceAccountName": "models"}, Need("ServiceAccount", "models")),
    ],
)
def test_each_place_that_names_one(spec: dict[str, Any], needed: Need) -> None:
    assert needs_of(spec) == (needed,)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"serviceAccountName": "default"},
        _env(secretKeyRef={"name": "keys", "key": "K", "optional": True}),
        _env(fieldRef={"fieldPath": "metadata.name"}),
        {"volumes": [{"emptyDir": {}}, {"secret": {"secretName": "x", "optional": True}}, None]},
        {"containers": "no list", "volumes": 3},
    ],
)
def test_what_is_optional_or_of_another_kind_is_not_needed(spec: dict[str, Any]) -> None:
    assert needs_of(spec) == ()


def test_each_is_named_once() -> None:
    twice = {"imagePullSecrets": [{"name": "a"}, {"name": "a"}, {"name": "b"}]}
    assert needs_of(twice) == (Need("Secret", "a"), Need("Secret", "b"))
