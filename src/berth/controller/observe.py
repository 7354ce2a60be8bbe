"""What a plan is made from: the store, and what is read only if it matters."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from berth.cluster.fields import text
from berth.controller.errors import Forbidden, NotFound
from berth.controller.kinds import CONFIG_MAP, NODE, POD, Key, Object, meta, uid
from berth.controller.ports import Api
from berth.controller.store import Store
from berth.presets.catalogue import Preset
from berth.workspace.names import FINALIZER, claim, headless_service, service, stateful_set, surge
from berth.workspace.observed import Observed, Settings

_log = logging.getLogger(__name__)

_CLAIM_EVENTS = "default"  # where events on objects without a namespace are


def observed_of(
    store: Store,
    key: Key,
    workspace: Object,
    *,
    settings: Settings,
    presets: Mapping[str, Preset],
    config_map: Object | None = None,
) -> Observed:
    """What the store has of one Workspace and its surroundings."""
    return Observed(
        workspace=workspace,
        settings=settings,
        presets=presets,
        nodes=store.all(NODE),
        pods=store.all(POD),
        children=store.children(key, _names(key)),
        claims=store.claims(key),
        config_map=config_map,
    )


async def config_map_of(api: Api, key: Key, workspace: Object) -> Object | None:
    """The one that inference.config names. Raises ApiError."""
    name = text(workspace, "inference", "config")
    if not name:
        return None
    try:
        return await api.get(CONFIG_MAP, key.namespace, name)
    except NotFound:
        return None


async def warnings_of(api: Api, store: Store, key: Key, observed: Observed) -> tuple[Object, ...]:
    """Warnings on a Workspace's objects; not asked for while all is well. Raises ApiError."""
    found: list[Object] = []
    mine = (*observed.children, *store.of(POD, key))
    if any(_unwell(obj) for obj in mine):
        uids = {uid(obj) for obj in mine}
        warnings = await _warnings(api, key.namespace, "")
        found += (event for event in warnings if _about(event).get("uid") in uids)
    if _wants_claims(observed):
        # By name: Karpenter deletes a claim that the cloud refuses, and its events stay.
        stem = claim(*key, 0).removesuffix("0")
        warnings = await _warnings(api, _CLAIM_EVENTS, "involvedObject.kind=NodeClaim")
        found += (e for e in warnings if str(_about(e).get("name", "")).startswith(stem))
    return tuple(found)


async def _warnings(api: Api, namespace: str, selector: str) -> Sequence[Object]:
    try:
        return await api.warnings(namespace, selector)
    except Forbidden as error:
        # Without events a reason is missing from a condition, and nothing else.
        _log.warning("events in %s cannot be read: %s", namespace, error)
        return ()


def _names(key: Key) -> frozenset[str]:
    """Names under which this Workspace's objects stand, so that a stranger there is seen."""
    made = (stateful_set, surge, service, headless_service)
    return frozenset(name(key.name) for name in made)


def _unwell(obj: Object) -> bool:
    """Whether an object's events may explain something."""
    status: Mapping[str, Any] = obj.get("status") or {}
    if obj.get("kind") == "StatefulSet":
        wanted = (obj.get("spec") or {}).get("replicas", 1)
        return bool(status.get("readyReplicas", 0) < wanted)
    if obj.get("kind") not in ("Pod", "NodeClaim"):
        return False
    conditions = status.get("conditions") or ()
    return not any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _wants_claims(observed: Observed) -> bool:
    """Whether there are NodeClaims on the way, or should be."""
    held = FINALIZER in (meta(observed.workspace).get("finalizers") or ())
    claims = observed.claims
    return held and claims is not None and (not claims or any(_unwell(one) for one in claims))


def _about(event: Object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = event.get("involvedObject") or {}
    return found
