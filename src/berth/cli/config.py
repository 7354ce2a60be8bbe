"""berth config: check a berth.yaml, show what it comes to, or print its schema."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import click

from berth.cli.config_file import KEYS, given, key_of, model_names, read_file
from berth.configuration.errors import ConfigurationError
from berth.configuration.read import Configuration, dotted
from berth.configuration.tree import schema as make_schema

_FILE = click.argument(
    "file", type=click.Path(path_type=Path), required=False, envvar="BERTH_CONFIG"
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def config() -> None:
    """Check or show a berth.yaml, the file of `berth serve --config`."""


@config.command()
@_FILE
def check(file: Path | None) -> None:
    """Say what is wrong with FILE and with the BERTH_* variables over it.

    Each problem is one line with file, line and key. The exit code is 2 if there is one.
    """
    found = _read(file)
    click.echo(f"{file or 'The environment'} is in order: {len(found.values)} values.")


@config.command()
@_FILE
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--origin", is_flag=True, help="Say of each value where it comes from.")
def show(file: Path | None, as_json: bool, origin: bool) -> None:
    """Show what FILE, the BERTH_* variables and the defaults come to, without secrets.

    A command line of berth serve goes before all of them.
    """
    rows = _rows(_read(file))
    if as_json:
        shown: dict[str, Any] = {
            key: {"value": value, "origin": where} if origin else value
            for key, (value, where) in rows.items()
        }
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    for key, (value, where) in rows.items():
        written = json.dumps(value, ensure_ascii=False)
        click.echo(f"{key}: {written}" + (f"  # {where}" if origin else ""))


@config.command()
def schema() -> None:
    """Print the JSON schema of berth.yaml, for editors."""
    click.echo(json.dumps(make_schema(), indent=2))


def _read(file: Path | None) -> Configuration:
    try:
        return read_file(file, os.environ)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None


def _rows(configuration: Configuration) -> dict[str, tuple[Any, str]]:
    """Each key with its value and origin: what was given, then what serve takes otherwise."""
    from berth.cli.serve import serve  # with the server's libraries, for its defaults alone

    rows = {
        dotted(key): (_masked(value.value), value.origin)
        for key, value in configuration.values.items()
    }
    names = model_names(configuration)
    for parameter in serve.params:
        key = KEYS.get(parameter.name or "", ())
        for name in names if "*" in key else [None]:
            rows.update(_row(configuration, parameter, name, several=len(names) > 1))
    if os.environ.get("BERTH_API_KEY"):
        rows["keys"] = ("further ones, not shown", "BERTH_API_KEY")
    return rows


def _row(
    configuration: Configuration, parameter: click.Parameter, name: str | None, *, several: bool
) -> dict[str, tuple[Any, str]]:
    """The row of an option that the file says nothing of, or that its own variable goes before."""
    option = parameter.name or ""
    key = key_of(option, name)
    if key is None or option == "model_id":
        return {}
    variable = parameter.envvar if isinstance(parameter.envvar, str) else ""
    if option == "models" and not several:
        variable = "BERTH_MODEL"
    text = os.environ.get(variable) if variable else None
    if text:
        value = text if option == "models" else parameter.type.convert(text, parameter, None)
        return {dotted(key): (_masked(value if isinstance(value, int) else text), variable)}
    if option == "models":
        found = key in configuration.values
        return {} if found else {dotted(key): (name, "default")}
    if given(configuration, option, name) is not None:
        return {}
    default = parameter.default
    if option == "no_prefix_caching":
        default = True
    elif option == "pin" or (isinstance(parameter, click.Option) and parameter.is_flag):
        default = False
    elif parameter.multiple:
        default = [] if option != "alias" else {}
    elif not isinstance(default, str | int | float | bool):
        default = None  # the help of serve's option says what is then taken
    return {dotted(key): (default, "default")}


def _masked(value: Any) -> Any:
    """A URL without its password."""
    if not isinstance(value, str):
        return value
    return re.sub(r"^([A-Za-z0-9+]+://[^/@:]*):[^@]*@", r"\1:***@", value)
