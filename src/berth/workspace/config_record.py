"""Which ConfigMap's options the pods run with: written on the StatefulSet, read from there again.

So the options that are live stay known when the ConfigMap has become something else meanwhile, and
a controller that starts anew knows them too.
"""

from __future__ import annotations

import msgspec

from berth.cluster.fields import Json, text, words
from berth.workspace import names
from berth.workspace.options import Options
from berth.workspace.spec import Identity, Spec


class ConfigRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The ConfigMap as it was when these options were first deployed."""

    name: str
    version: str  # its resourceVersion
    generation: int  # the Workspace's
    options: Options

    def __str__(self) -> str:
        return (
            f"ConfigMap {self.name} as of resourceVersion {self.version or 'unknown'} "
            f"(generation {self.generation} of the Workspace)"
        )


def live_record(live: Json | None) -> ConfigRecord | None:
    """What the StatefulSet says of itself; None where it says nothing, or nothing of ours."""
    written = "" if live is None else words(live, "metadata", "annotations").get(names.CONFIG, "")
    try:
        return msgspec.json.decode(written, type=ConfigRecord) if written else None
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return None


def record(spec: Spec, who: Identity, config_map: Json | None, live: Json | None) -> str:
    """The annotation; "" without inference.config. Other words of the same options are no news."""
    if not spec.config:
        return ""
    known = live_record(live)
    if known is None or known.name != spec.config or known.options != spec.options:
        version = "" if config_map is None else text(config_map, "metadata", "resourceVersion")
        known = ConfigRecord(
            name=spec.config, version=version, generation=who.generation, options=spec.options
        )
    return msgspec.json.encode(known, order="sorted").decode()
