"""How berth plan tells what it found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

# Of a Workspace that was made a moment ago: they only wait for the pods.
_LATER = {"InferenceReady", "WorkspaceReady", "WorkspaceSucceeded", "WorkspaceDeleting"}


def show(answer: Mapping[str, Any]) -> None:
    """Print an answer as `Answer.to_dict` has it."""
    verdict = "would be deployed" if answer["fits"] else "would not be deployed"
    click.echo(f"{answer['namespace']}/{answer['workspace']} {verdict} on {answer['nodes']}")
    for line in answer["terms"] or _refusal(answer["status"]):
        click.echo(f"  {line}")
    if answer["objects"]:
        click.echo("  These would be created:")
    for made in answer["objects"]:
        click.echo(f"    {made['kind']} {made['metadata']['name']}{_detail(made)}")
    for note in answer["notes"]:
        click.echo(f"  note: {note}")


def _refusal(status: Mapping[str, Any]) -> list[str]:
    """The words of the conditions that are not as they should be, each once."""
    lines: dict[str, None] = {}
    for found in status.get("conditions", ()):
        if found["status"] != "True" and found["type"] not in _LATER:
            lines |= dict.fromkeys(found["message"].splitlines())
    return list(lines)


def _detail(made: Mapping[str, Any]) -> str:
    if made["kind"] == "StatefulSet":
        pod = made["spec"]["template"]["spec"]
        container = pod["containers"][0]
        gpus = container.get("resources", {}).get("limits", {}).get("nvidia.com/gpu")
        each = f", {_several(int(gpus), 'GPU')} each" if gpus else ""
        pods = _several(made["spec"]["replicas"], "pod")
        return f": {pods}{each}, image {container['image']}"
    if made["kind"] == "Service" and made["spec"].get("clusterIP") != "None":
        port = made["spec"]["ports"][0]["port"]
        return f": {made['spec']['type']}, port {port}"
    return ""


def _several(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
