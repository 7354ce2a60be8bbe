"""berth convert: between Meta's layout and Hugging Face's."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--shards", default=1, show_default=True, help="consolidated.NN.pth files to write.")
def convert(source: Path, target: Path, shards: int) -> None:
    """Convert the weights in SOURCE to the other layout, in the new folder TARGET.

    A folder in Meta's layout (consolidated.NN.pth, params.json) becomes one in Hugging Face's
    (model.safetensors, config.json), and the other way round. The numbers stay the same.
    """
    from berth.checkpoint.errors import ConfigError
    from berth.checkpoint.layout import folder_layout
    from berth.models.weights.convert import convert_hf_to_meta, convert_meta_to_hf
    from berth.models.weights.source import WeightError

    try:
        if folder_layout(source) == "meta":
            convert_meta_to_hf(source, target)
        else:
            convert_hf_to_meta(source, target, shards=shards)
    except ConfigError as error:  # what the folder alone tells
        raise click.UsageError(str(error)) from error
    except (WeightError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"written to {target}")
