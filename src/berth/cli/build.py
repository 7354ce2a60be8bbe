"""berth build: the container image of a model, by docker, podman or buildah."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import click

from berth.fit.units import human
from berth.images.command import push_command, run_command
from berth.images.find_weights import find_weights
from berth.images.plan import BuildOptions, Plan, plan_named, plan_preset, recipe_for
from berth.images.recipe import (
    WITHOUT_MODEL,
    NotBuildable,
    Recipe,
    buildable,
    disk_bytes,
)
from berth.images.repository import Repository, find_repository
from berth.images.tools import Tool, ToolError, ToolName, find_tool
from berth.images.weight_files import WeightsMissing, check_weights
from berth.presets.catalogue import Preset, PresetError, load_presets
from berth.presets.image_names import Variant, has_registry


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("preset", required=False)
@click.argument("extra", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--weights",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the weights.  [default: the Dockerfile's own place, else what was pulled]",
)
@click.option("--no-weights", is_flag=True, help="Leave them out: they are mounted or pulled.")
@click.option("--tag", metavar="NAME:TAG", help="Name of the image.  [default: PRESET:VERSION]")
@click.option("--push", is_flag=True, help="Push it to the registry that --tag names.")
@click.option("--variant", type=click.Choice(get_args(Variant)), default="cpu", show_default=True)
@click.option("--base", metavar="IMAGE", help="Base image, best with a digest.")
@click.option(
    "--tool",
    type=click.Choice(get_args(ToolName)),
    help="[default: the first of them that works]",
)
@click.option("--no-disk-check", is_flag=True, help="For a rebuild whose weights are stored.")
@click.option("--dry-run", is_flag=True, help="Check everything, and print the command only.")
@click.option("--all", "everything", is_flag=True, help="Every preset whose weights are here.")
@click.option("--list", "listing", is_flag=True, help="List what can be built, and build nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def build(
    preset: str | None,
    extra: tuple[str, ...],
    tool: ToolName | None,
    push: bool,
    listing: bool,
    everything: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Build the container image of PRESET, and print how to run it.

    Two images have no model: base, the server to which one is given when it starts, and controller.

    Before anything is built, the weights are looked through and the disk is measured. What follows
    -- goes to the tool unchanged: berth build pocket -- --no-cache
    """
    if preset is not None and (listing or everything):
        if not preset.startswith("-"):
            raise click.UsageError(f"--list and --all are of every preset; leave {preset} out")
        extra = (preset, *extra)  # what follows --
        preset = None
    asked = _asked(options, extra, push)
    try:
        if listing:
            _list(asked, find_repository(), as_json)
        elif everything:
            _build_all(asked, find_repository(), find_tool(tool), dry_run)
        elif preset is None:
            raise click.UsageError("name a PRESET; berth build --list shows them")
        elif preset in WITHOUT_MODEL and asked.weights is not None:
            raise click.UsageError(f"the image {preset} has no model, and so no --weights")
        else:
            plan = plan_named(preset, asked, find_repository(), find_tool(tool))
            _build_one(plan, push=push, dry_run=dry_run, as_json=as_json)
    except PresetError as error:
        raise click.UsageError(str(error)) from error
    except (NotBuildable, WeightsMissing, ToolError) as error:
        raise click.ClickException(str(error)) from error


def _asked(options: dict[str, Any], extra: tuple[str, ...], push: bool) -> BuildOptions:
    if options["no_weights"] and options["weights"] is not None:
        raise click.UsageError("--weights and --no-weights exclude each other")
    if push and not (options["tag"] and has_registry(options["tag"])):
        raise click.UsageError(
            "--push needs a --tag that names a registry, as registry.example.com/team/model:1 does"
        )
    return BuildOptions(
        weights=options["weights"],
        with_weights=not options["no_weights"],
        tag=options["tag"],
        variant=options["variant"],
        base=options["base"],
        check_disk=not options["no_disk_check"],
        extra=extra,
    )


def _build_one(plan: Plan, *, push: bool, dry_run: bool, as_json: bool) -> None:
    _tell(plan.notes)
    if dry_run:
        _show(plan, as_json)
        return
    began = time.monotonic()
    with plan.command() as command:
        _run(command, plan.repository.root)
    click.echo(f"built {plan.recipe.tag} in {time.monotonic() - began:.0f} s", err=True)
    if push:
        _run(push_command(plan.tool, plan.recipe), plan.repository.root)
    if as_json:
        _show(plan, as_json)
    elif plan.recipe.name != "controller":  # which runs in a cluster
        click.echo("run it, then ask it at http://localhost:5000:", err=True)
        click.echo(shlex.join(run_command(plan.tool, plan.recipe)))


def _tell(notes: Sequence[str]) -> None:
    for note in notes:
        click.echo(f"note: {note}", err=True)


def _run(command: Sequence[str], folder: Path) -> None:
    """Run a tool where the user sees it; our own standard output stays free for the result."""
    click.echo(f"$ {shlex.join(command)}", err=True)
    status = subprocess.run(command, cwd=folder, stdout=sys.stderr, check=False).returncode
    if status:
        raise ToolError(
            f"{command[0]} {command[1]} ended with status {status}; what it printed says why"
        )


def _show(plan: Plan, as_json: bool) -> None:
    command = plan.shown_command()
    if not as_json:
        click.echo(shlex.join(command))
        return
    where = None if plan.weights is None else plan.weights.folder
    shown = _as_data(plan.preset, plan.recipe, where) | {
        "tool": plan.tool.name,
        "root": str(plan.repository.root),
        "weights_bytes": plan.weights_bytes,
        "disk_bytes": disk_bytes(plan.recipe.variant, plan.weights_bytes),
        "command": command,
        "run": run_command(plan.tool, plan.recipe),
    }
    click.echo(json.dumps(shown, indent=2))


def _as_data(preset: Preset | None, recipe: Recipe, weights: Path | None) -> dict[str, Any]:
    about = {} if preset is None else {"gated": preset.gated, "licence": preset.licence}
    return {
        "preset": recipe.name,
        "tag": recipe.tag,
        "variant": recipe.variant,
        "dockerfile": recipe.dockerfile,
        "arguments": dict(recipe.arguments),
        "weights": None if weights is None else str(weights),
        "weights_bytes": recipe.weights_bytes,
        **about,
    }


def _list(asked: BuildOptions, repository: Repository, as_json: bool) -> None:
    rows = []
    for preset in buildable(load_presets().values()):
        recipe = recipe_for(preset, asked, repository)
        rows.append(_as_data(preset, recipe, _here(preset, recipe, repository)))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        size = "?" if row["weights_bytes"] is None else human(row["weights_bytes"])
        where = row["weights"] or "not on this machine"
        click.echo(f"{row['preset']:<36} {size:>9}  {row['dockerfile']:<34} {where}")


def _here(preset: Preset, recipe: Recipe, repository: Repository) -> Path | None:
    """Where its weights are, whole; None if they are not."""
    try:
        folder = find_weights(preset, recipe, repository.root, None)
        return check_weights(folder, preset).folder
    except WeightsMissing:
        return None


def _build_all(asked: BuildOptions, repository: Repository, tool: Tool, dry_run: bool) -> None:
    """Every preset whose weights are here; each that is left out, and why, is said by name."""
    if asked.weights is not None or asked.tag is not None:
        raise click.UsageError("--weights and --tag are of one image; --all builds many")
    built, skipped, failed = 0, 0, []
    for preset in buildable(load_presets().values()):
        try:
            plan = plan_preset(preset, asked, repository, tool)
            if dry_run:
                _show(plan, as_json=False)
            else:
                with plan.command() as command:
                    _run(command, repository.root)
                click.echo(plan.recipe.tag)
            built += 1
        except WeightsMissing as error:
            skipped += 1
            click.echo(f"skipped {preset.name}: {error}", err=True)
        except ToolError as error:
            failed.append(preset.name)
            click.echo(f"failed {preset.name}: {error}", err=True)
    click.echo(f"{built} built, {skipped} skipped, {len(failed)} failed", err=True)
    if failed:
        raise ToolError(f"these images could not be built: {', '.join(failed)}")
