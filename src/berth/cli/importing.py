"""berth import: another server's configuration as a berth.yaml; nothing of it is executed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click

from berth.configuration.errors import ConfigurationError
from berth.configuration.imports import llama_api as llama
from berth.configuration.imports import llm_api as llm
from berth.configuration.imports import local_llm as local
from berth.configuration.imports import node as node_api
from berth.configuration.imports.imported import Imported

_FILE = click.Path(path_type=Path)


@click.group(name="import", context_settings={"help_option_names": ["-h", "--help"]})
def import_() -> None:
    """Make a berth.yaml of another server's configuration, and print it.

    Each key that is not carried over is said on standard error, with the reason.
    """


@import_.command("llm-api")
@click.argument("config", type=_FILE)
@click.option("--env", is_flag=True, help="With the LLM_API_* variables over the file.")
def llm_api(config: Path, env: bool) -> None:
    """CONFIG: llm-api's config.yaml."""
    variables = os.environ if env else {}
    _print(lambda: llm.convert(_text(config), str(config), variables))


@import_.command("llama-api")
@click.argument("definitions", type=_FILE)
def llama_api(definitions: Path) -> None:
    """DEFINITIONS: llama-api's model_definitions.py. It is read, and not run."""
    _print(lambda: llama.convert(_text(definitions), str(definitions)))


@import_.command("local-llm")
@click.argument("data", type=_FILE)
def local_llm(data: Path) -> None:
    """DATA: Local-LLM-API's folder data, beside its folder models."""
    config = data / "config.json"
    _print(
        lambda: local.convert(
            _text(config),
            str(config),
            str(data.absolute().parent / "models"),
            _text_if_any(data / "api_keys.json"),
            _text_if_any(data / "sessions.json"),
        )
    )


@import_.command("node")
@click.argument("config", type=_FILE)
@click.argument("models", type=_FILE)
@click.argument("keys", type=_FILE, required=False)
def node(config: Path, models: Path, keys: Path | None) -> None:
    """The Node LLM-API's config.js, models.json and authKeys.json."""
    _print(
        lambda: node_api.convert(
            _text(config), _text(models), None if keys is None else _text(keys)
        )
    )


def _print(convert: Callable[[], Imported]) -> None:
    try:
        made = convert()
        text = made.text()
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    for key, reason in made.left:
        said = "" if reason.startswith("carried over") else "not carried over: "
        click.echo(f"{key}: {said}{reason}", err=True)
    click.echo(text, nl=False)


def _text_if_any(path: Path) -> str | None:
    return _text(path) if path.exists() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError([f"{path}: not UTF-8 text"]) from None
    except OSError as error:
        said = os.strerror(error.errno or 0)
        raise ConfigurationError([f"{path}: cannot be read: {said}"]) from None
