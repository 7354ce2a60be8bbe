"""Writes workspace-examples/, one file for each preset that an engine of Berth runs.

    python -m tools.plan_examples workspace-examples

The instance type is the smallest of Azure's, KAITO's own cloud, on which `berth plan` says that
the preset fits with its whole context; where none is large enough, two nodes and more, and then
the one with the most room.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from berth.cli.plan_answer import Where, answer
from berth.cli.plan_files import Manifest, Manifests
from berth.fit import Machine, all_skus
from berth.presets.catalogue import Preset, load_presets

FOLDER = Path(__file__).parents[1] / "workspace-examples"
_NODES = (1, 2, 3, 4)
_LEAST_CAPABILITY = (8, 0)  # older GPUs are leaving the clouds, and compute bfloat16 slowly
_FITS, _LESS = "fits", "fits with less"


def servable(presets: Mapping[str, Preset]) -> list[Preset]:
    """Those that an engine of ours runs and whose size is known."""
    return [p for p in presets.values() if p.engine != "none" and p.numbers is not None]


def path_of(preset: Preset) -> Path:
    """Where its example is, below the folder."""
    return Path(preset.family) / f"{preset.name}.yaml"


def example(preset: Preset, instance_type: str, count: int) -> str:
    """The file. `instance_type` "": on own nodes without GPUs."""
    file = path_of(preset).name
    name = f"workspace-{preset.name.replace('.', '-')}"
    own = not instance_type
    lines = [
        f"# {preset.title} ({preset.licence}), {preset.context:,} tokens.",
        "#",
        f"#   berth plan {file}{' --ram 4' if own else ''}",
        f"#   kubectl apply -f {file}",
        f"#   kubectl get workspace {name}",
        "#",
        "# The first asks no cluster: it says whether the model fits, and what would be created.",
        *_about_weights(preset),
        "apiVersion: kaito.sh/v1beta1",
        "kind: Workspace",
        "metadata:",
        f"  name: {name} # the Service has the same name",
        "resource:",
        *_resource(preset, instance_type, count),
        "  labelSelector:",
        "    matchLabels:",
        *(_label(preset, own)),
        "inference:",
        "  preset:",
        f"    name: {preset.name}",
        *_options(preset),
    ]
    return "\n".join(lines) + "\n"


def _about_weights(preset: Preset) -> Iterator[str]:
    if preset.hub is None and preset.weights is None:
        yield "#"
        yield "# No hub has these weights, so they have to be in the image. See docs/images.md."
    elif preset.gated:
        yield "#"
        yield f"# The weights are given to those who accepted the licence of {preset.hub}:"
        yield "#"
        yield "#   kubectl create secret generic hf-token --from-literal=HF_TOKEN=YOUR_TOKEN"


def _resource(preset: Preset, instance_type: str, count: int) -> Iterator[str]:
    if not instance_type:
        yield "  # No instanceType: own nodes. The model is small enough for any of them."
        return
    if count > 1:
        yield f"  count: {count} # one node is too small: the model is split over these"
    yield "  # For own nodes, leave this line out and give them the label below."
    yield f"  instanceType: {instance_type}"


def _label(preset: Preset, own: bool) -> Iterator[str]:
    yield "      kubernetes.io/os: linux" if own else f"      apps: {preset.name}"


def _options(preset: Preset) -> Iterator[str]:
    if preset.hub is None and preset.weights is None:
        yield "    accessMode: private"
        yield "    presetOptions:"
        yield f"      image: registry.example.com/{preset.name}:1"
        yield "      imagePullSecrets: [registry]"
    elif preset.gated:
        yield "    presetOptions:"
        yield "      modelAccessSecret: hf-token"


def choose(preset: Preset, presets: Mapping[str, Preset]) -> tuple[str, int] | None:
    """Instance type and nodes; None where it fits nowhere."""
    if preset.weights is not None:
        return "", 1
    less: tuple[int, str, int] | None = None
    for count in _NODES:
        for machine in _machines():
            found = _planned(preset, presets, machine, count)
            if found is None:
                continue
            outcome, context = found
            if outcome == _FITS:
                return machine.name, count
            if less is None or context > less[0]:
                less = context, machine.name, count
        if less is not None:
            return less[1], less[2]
    return None


def _machines() -> list[Machine]:
    return [
        machine
        for machine in all_skus("azure")
        if machine.device.kind == "gpu"
        and machine.device.known
        and (machine.device.compute_capability or (0, 0)) >= _LEAST_CAPABILITY
    ]


def _planned(
    preset: Preset, presets: Mapping[str, Preset], machine: Machine, count: int
) -> tuple[str, int] | None:
    """The outcome and the tokens that have room; None where it is not deployed."""
    manifest = Manifest("", yaml.safe_load(example(preset, machine.name, count)))
    found = answer(manifest, Manifests([manifest], {}, []), Where(presets=presets))
    if not found.fits:
        return None
    return found.status["fit"]["outcome"], found.status["fit"]["maxContext"]


def write(folder: Path) -> None:
    """All files anew, and none beside them."""
    presets = load_presets()
    for preset in servable(presets):
        chosen = choose(preset, presets)
        if chosen is None:
            sys.stderr.write(f"{preset.name} fits no instance type\n")
            continue
        file = folder / path_of(preset)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(example(preset, *chosen))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
