"""berth pull: a model's weights, from a hub to this machine."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click
from huggingface_hub.utils.tqdm import disable_progress_bars

from berth.cli.model_argument import ModelName
from berth.models.weights.digests import DigestError, write_digests
from berth.presets.catalogue import PresetError
from berth.presets.hub import pull as pull_source
from berth.presets.hub_cache import HubSettings
from berth.presets.hub_files import needed_in
from berth.presets.resolve import locate
from berth.presets.source import PullError


@click.command()
@click.argument("model", type=ModelName())
@click.option("--revision", help="Commit, branch or tag.  [default: the preset's, or main]")
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    help="Plain folder for the files.  [default: Hugging Face's cache]",
)
@click.option(
    "--variant", metavar="NAME", help="A second number format: fp16 for model.fp16.safetensors."
)
@click.option("--mirror", metavar="URL", help="Another hub.  [default: HF_ENDPOINT, or the public]")
def pull(
    model: str, revision: str | None, to: Path | None, variant: str | None, mirror: str | None
) -> None:
    """Download MODEL: a preset, or HUB_ID, or HUB_ID:PART.

    PART is a GGUF file or the name of its quantisation (Q4_K_M), a safetensors file, or a folder.

    Prints the folder in which it then is. What is there already is checked and kept. For a gated
    model, accept its licence on the hub and set HF_TOKEN.
    """
    try:
        preset, source = locate(model)
        if source is None:
            assert preset is not None
            where = preset.source or f"they come with Berth, in {preset.weights}"
            raise PullError(f"there is nothing to pull for {preset.name}: {where}")
        source = replace(source, revision=revision or source.revision, variant=variant)
        if not sys.stderr.isatty():
            disable_progress_bars()
        done = pull_source(source, HubSettings(endpoint=mirror), to)
    except PresetError as error:
        raise click.UsageError(str(error)) from error
    except PullError as error:
        raise click.ClickException(str(error)) from error
    for note in done.notes:
        click.echo(note, err=True)
    _note_digests(done.path)
    click.echo(
        f"{source} at commit {done.commit}: {done.files} files, {done.size / 2**30:.2f} GiB",
        err=True,
    )
    click.echo(done.path)


def _note_digests(folder: Path) -> None:
    """Write down what the files' bytes are, now that they are known to be the hub's: later a
    damaged tensor can be named, in a sixth of the time that SHA-256 takes.
    """
    if not folder.is_dir():  # a GGUF file
        return
    try:
        write_digests(folder, [file.path for file in needed_in(folder)])
    except (DigestError, PullError, OSError) as error:
        click.echo(f"no digests were written beside the files: {error}", err=True)
