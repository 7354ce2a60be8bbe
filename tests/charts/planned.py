"""What the controller that charts/berth installs makes of a Workspace, object by object."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from berth.cli.controller import controller, settings_of
from berth.controller.settings import ControllerSettings
from berth.presets.catalogue import load_presets
from berth.workspace.actions import Apply
from berth.workspace.observed import Observed
from berth.workspace.plan import plan
from charts.rendered import Object, container, render

NODE: Object = {
    "metadata": {
        "name": "a",
        "labels": {"kubernetes.io/hostname": "a", "kubernetes.io/os": "linux"},
    },
    "spec": {},
    "status": {
        "allocatable": {"cpu": "2", "memory": "8Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}


def settings(**values: Any) -> ControllerSettings:
    """What the controller makes of the arguments that the chart gives it."""
    pod = render("berth", values).one("Deployment")["spec"]["template"]
    arguments = list(container(pod, "controller")["args"])
    return settings_of(controller.make_context("controller", arguments).params)


def planned(file: Path, *, namespace: str = "default", **values: Any) -> dict[str, Object]:
    """The objects of the Workspace in a file, by kind, on one node of 2 CPUs without a GPU.

    Args:
        values: of charts/berth.
    """
    workspace = yaml.safe_load(file.read_text())
    workspace["metadata"] |= {
        "namespace": namespace,
        "uid": "1",
        "generation": 1,
        "resourceVersion": "1",
    }
    workspace["resource"].setdefault("count", 1)  # the API server's defaults
    observed = Observed(
        workspace=workspace,
        settings=settings(**values).workspace,
        presets=load_presets(),
        nodes=(NODE,),
        pods=(),
        children=(),
    )
    actions = plan(observed, datetime(2026, 11, 21, tzinfo=UTC))
    return {a.object["kind"]: dict(a.object) for a in actions if isinstance(a, Apply)}
