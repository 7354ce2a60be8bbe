"""berth verify: are the bytes of a model's files what they were when they were written?"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from berth.cli.model_argument import ModelName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from berth.models.weights.files import TensorFile
    from berth.models.weights.verify import Check


@click.command()
@click.argument("model", type=ModelName())
@click.option(
    "--write",
    is_flag=True,
    help="Then write berth-digests.json beside the files, by which a damaged tensor is found.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def verify(model: str, write: bool, as_json: bool) -> None:
    """Read through the files of MODEL, and hold them to every checksum that is known of them.

    MODEL is a folder of weights, or what is on this machine under a preset's name or a hub id.
    Known are the checksums in Meta's files, berth-digests.json, FILE.sha256, SHA256SUMS,
    checklist.chk, and the names of Hugging Face's cache. `berth serve` does the same each time it
    loads (--verify). Exit status 1: something is damaged; 2: the folder holds no model's files.
    """
    from berth.checkpoint.errors import ConfigError
    from berth.models.weights.digests import NAME, DigestError, write_digests
    from berth.models.weights.folder import open_weight_files
    from berth.models.weights.source import WeightError
    from berth.models.weights.verify import checks_for

    folder = _folder(model)
    try:
        files = open_weight_files(folder)
        checks = checks_for(folder, files, "auto")
        damaged = _run(checks, watched=sys.stderr.isatty() and not as_json)
        if write and not damaged:
            beside = [path.name for path in folder.iterdir() if _describes(path)]
            write_digests(folder, [*(file.path.name for file in files), *beside])
    except ConfigError as error:  # what the folder alone tells
        raise click.UsageError(str(error)) from error
    except (WeightError, DigestError, OSError) as error:
        raise click.ClickException(str(error)) from error
    lines = _lines(files, checks)
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "files": lines, "damaged": damaged}))
    else:
        for name, said in lines.items():
            click.echo(f"{name}: {said}")
        for sentence in damaged:
            click.echo(f"Error: {sentence}", err=True)
        if write and not damaged:
            click.echo(f"written: {folder / NAME}")
    sys.exit(1 if damaged else 0)


def _folder(model: str) -> Path:
    """Where the model is on this machine."""
    path = Path(model)
    from berth.checkpoint.errors import ConfigError
    from berth.checkpoint.layout import path_kind

    try:
        if path_kind(path) is not None:
            return path
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    from berth.presets.catalogue import PresetError
    from berth.presets.hub_cache import local_copy
    from berth.presets.resolve import locate

    try:
        preset, source = locate(model)
    except PresetError as error:
        raise click.UsageError(str(error)) from error
    if preset is not None and preset.weights is not None:
        return preset.weights
    here = None if source is None else local_copy(source)
    if here is None or not here.is_dir():
        raise click.ClickException(f"{model} is not on this machine; berth pull {model} gets it")
    return here


def _describes(path: Path) -> bool:
    """A tokeniser, a configuration: what is read beside the weights."""
    return path.is_file() and (path.suffix in (".json", ".jinja", ".model") or path.name == "vocab")


def _run(checks: Sequence[Check], *, watched: bool) -> list[str]:
    """What is damaged, as sentences; all of it, not only the first."""
    from berth.models.weights.source import WeightError

    damaged: list[str] = []
    shown = click.progressbar(
        checks, label="verifying", file=sys.stderr, hidden=not watched, update_min_steps=1
    )
    with shown as running:
        for check in running:
            try:
                check.run()
            except WeightError as error:
                damaged.append(str(error))
    return damaged


def _lines(files: Sequence[TensorFile], checks: Sequence[Check]) -> dict[str, str]:
    """What was compared with what, by file."""
    compared: dict[str, Counter[str]] = {file.path.name: Counter() for file in files}
    for check in checks:
        by = check.source.rstrip(",")
        compared.setdefault(check.path.name, Counter())[by] += bool(check.tensor)
    return {
        name: "no checksum is known of it"
        if not by
        else ", ".join(
            f"{count} tensors compared with {source}" if count else f"compared with {source}"
            for source, count in by.items()
        )
        for name, by in compared.items()
    }
