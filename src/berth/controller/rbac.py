"""Every verb that the controller uses, on every kind: what the chart grants is rendered from this.

The client asks this table before each request, so that a use which is not granted fails in every
test and not only in a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from berth.controller.kinds import (
    CHILDREN,
    CONFIG_MAP,
    EVENT,
    LEASE,
    NODE,
    NODE_CLAIM,
    POD,
    SECRET,
    SERVICE_ACCOUNT,
    VOLUME_CLAIM,
    WORKSPACE,
    Kind,
)

Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete"]

# In which scope a rule is needed:
#   watched      in every watched namespace (a ClusterRole if all are watched)
#   cluster      a ClusterRole always: the kind has no namespace
#   provisioning the same, only if the chart enables provisioning
#   own          in the controller's own namespace
#   claim events in the namespace `default`, only if the chart enables provisioning
#   secrets      as watched, only if the chart lets the controller look for Secrets
Scope = Literal["watched", "secrets", "cluster", "provisioning", "own", "claim events"]


@dataclass(frozen=True, slots=True)
class Grant:
    """Verbs on one resource."""

    scope: Scope
    kind: Kind
    verbs: tuple[Verb, ...]
    subresource: str = ""

    @property
    def resource(self) -> str:
        return f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural


GRANTS: tuple[Grant, ...] = (
    Grant("watched", WORKSPACE, ("get", "list", "watch", "patch")),  # patch: our finalizer
    Grant("watched", WORKSPACE, ("update",), "status"),
    # The controller makes no such request: a cluster may require it for blockOwnerDeletion.
    Grant("watched", WORKSPACE, ("update",), "finalizers"),
    # A server-side apply that creates needs both patch and create.
    *(
        Grant("watched", kind, ("get", "list", "watch", "create", "patch", "delete"))
        for kind in CHILDREN
    ),
    Grant("watched", POD, ("list", "watch")),
    Grant("watched", CONFIG_MAP, ("get", "watch")),  # of those that a Workspace names
    # Whether what a pod needs is there, before another is ended for it: the metadata alone is
    # asked for, and no content of a Secret ever comes to the controller.
    Grant("secrets", SECRET, ("get",)),
    Grant("watched", VOLUME_CLAIM, ("get",)),
    Grant("watched", SERVICE_ACCOUNT, ("get",)),
    Grant("watched", EVENT, ("get", "list", "create", "patch")),
    Grant("cluster", NODE, ("list", "watch")),
    Grant("provisioning", NODE_CLAIM, ("get", "list", "watch", "create", "patch", "delete")),
    Grant("claim events", EVENT, ("list",)),
    Grant("own", LEASE, ("get", "create", "update")),
)

_ALLOWED = {(grant.kind, grant.subresource, verb) for grant in GRANTS for verb in grant.verbs}


class NotGranted(Exception):
    """The controller was about to do what its chart does not let it do: a mistake in its code."""


def check(verb: Verb, kind: Kind, subresource: str = "") -> None:
    """Raises NotGranted."""
    if (kind, subresource, verb) not in _ALLOWED:
        resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
        raise NotGranted(f"{verb} of {resource} is not in the table of grants")


def rules(*scopes: Scope) -> list[dict[str, list[str]]]:
    """The rules of a Role or ClusterRole with these scopes, as Kubernetes writes them.

    Resources of one group with the same verbs stand together.
    """
    together: dict[tuple[str, tuple[Verb, ...]], list[str]] = {}
    for grant in GRANTS:
        if grant.scope in scopes:
            together.setdefault((grant.kind.group, grant.verbs), []).append(grant.resource)
    return [
        {"apiGroups": [group], "resources": resources, "verbs": list(verbs)}
        for (group, verbs), resources in together.items()
    ]
