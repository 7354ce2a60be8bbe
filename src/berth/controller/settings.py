"""How the controller runs: one frozen object, validated once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from berth.controller.leader import Term
from berth.workspace.observed import Settings

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class SettingsError(Exception):
    """A setting with an impossible value; the message names it and says what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """Of one controller process. Times are in seconds."""

    namespaces: tuple[str, ...] = ()  # empty: all
    workspace: Settings = field(default_factory=Settings)

    lease: bool = True
    lease_namespace: str = "default"
    lease_name: str = "berth-controller"
    identity: str = "berth-controller"
    term: Term = field(default_factory=Term)

    workers: int = 4
    resync: float = 300.0
    grace: float = 15.0  # of reconciles that are under way at SIGTERM
    host: str = "0.0.0.0"
    port: int = 8080

    kubeconfig: Path | None = None
    context: str | None = None

    def __post_init__(self) -> None:
        for name in (*self.namespaces, self.lease_namespace):
            if not _NAME.fullmatch(name):
                raise SettingsError(
                    f"namespace {name!r} should be small letters, digits and dashes, at most 63"
                )
        if len(set(self.namespaces)) != len(self.namespaces):
            raise SettingsError("namespace: one is given twice")
        if not self.identity:
            raise SettingsError("identity should differ from that of every other controller")
        if not 1 <= self.workers <= 64:
            raise SettingsError(f"workers is {self.workers}; it should be 1 to 64")
        if not 10 <= self.resync <= 86400:
            raise SettingsError(f"resync is {self.resync:g}; it should be 10 to 86400 seconds")
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"port is {self.port}; it should be 0 to 65535")
        if self.grace < 0:
            raise SettingsError(f"grace is {self.grace:g}; it should be 0 seconds or more")
        if self.workspace.provisioning and self.workspace.node_class is None:
            raise SettingsError(
                "provisioning needs node-class, as GROUP/KIND/NAME of Karpenter's node class"
            )
