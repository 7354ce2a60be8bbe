"""What a pod needs besides its node: the Secrets, ConfigMaps, claims and the account that it names.

A pod of which one is missing never starts, so they are looked for before another is ended for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from berth.cluster.fields import Json, flag, items, mapping, text

NeedKind = Literal["Secret", "ConfigMap", "PersistentVolumeClaim", "ServiceAccount"]


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """One object of the pod's namespace."""

    kind: NeedKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def needs_of(pod_spec: Json) -> tuple[Need, ...]:
    """Of a PodSpec; what it calls optional is not needed."""
    return tuple(sorted(set(_needs(pod_spec))))


def _needs(spec: Json) -> Iterator[Need]:
    account = text(spec, "serviceAccountName")
    if account and account != "default":
        yield Need("ServiceAccount", account)
    for one in items(spec, "imagePullSecrets"):
        yield from _named("Secret", one, "name")
    for container in (*items(spec, "initContainers"), *items(spec, "containers")):
        for source in items(container, "envFrom"):
            yield from _named("Secret", mapping(source, "secretRef"), "name")
            yield from _named("ConfigMap", mapping(source, "configMapRef"), "name")
        for variable in items(container, "env"):
            source = mapping(variable, "valueFrom")
            yield from _named("Secret", mapping(source, "secretKeyRef"), "name")
            yield from _named("ConfigMap", mapping(source, "configMapKeyRef"), "name")
    for volume in items(spec, "volumes"):
        yield from _of_volume(volume)


def _of_volume(volume: Json) -> Iterator[Need]:
    yield from _named("Secret", mapping(volume, "secret"), "secretName")
    yield from _named("ConfigMap", mapping(volume, "configMap"), "name")
    yield from _named(
        "PersistentVolumeClaim", mapping(volume, "persistentVolumeClaim"), "claimName"
    )
    yield from _named("Secret", mapping(volume, "csi", "nodePublishSecretRef"), "name")
    for source in items(volume, "projected", "sources"):
        yield from _named("Secret", mapping(source, "secret"), "name")
        yield from _named("ConfigMap", mapping(source, "configMap"), "name")


def _named(kind: NeedKind, reference: Mapping[str, Any], key: str) -> Iterator[Need]:
    name = text(reference, key)
    if name and not flag(reference, "optional"):
        yield Need(kind, name)
