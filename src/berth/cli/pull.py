"""berth pull: a model's weights, from a hub to this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from huggingface_hub.utils.tqdm import disable_progress_bars

from berth.presets.catalogue import PresetError
from berth.presets.hub import HubSettings
from berth.presets.hub import pull as pull_source
from berth.presets.hub_files import PullError, Source
from berth.presets.resolve import locate


@click.command()
@click.argument("model")
@click.option("--revision", help="Commit, branch or tag.  [default: the preset's, or main]")
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    help="Plain folder for the files.  [default: Hugging Face's cache]",
)
@click.option("--mirror", metavar="URL", help="Another hub.  [default: HF_ENDPOINT, or the public]")
def pull(model: str, revision: str | None, to: Path | None, mirror: str | None) -> None:
    """Download MODEL: a preset, or HUB_ID, or HUB_ID:FILE for one GGUF file.

    Prints the folder in which it then is. What is there already is checked and kept. For a gated
    model, accept its licence on the hub and set HF_TOKEN.
    """
    try:
        preset, source = locate(model)
        if source is None:
            assert preset is not None
            where = preset.source or f"they come with Berth, in {preset.weights}"
            raise PullError(f"there is nothing to pull for {preset.name}: {where}")
        source = Source(source.hub, source.file, revision or source.revision)
        if not sys.stderr.isatty():
            disable_progress_bars()
        done = pull_source(source, HubSettings(endpoint=mirror), to)
    except PresetError as error:
        raise click.UsageError(str(error)) from error
    except PullError as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        f"{source} at commit {done.commit}: {done.files} files, {done.size / 2**30:.2f} GiB",
        err=True,
    )
    click.echo(done.path)
