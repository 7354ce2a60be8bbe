"""berth.yaml and the environment, as values of berth serve's options.

They reach the command as click's default map: what the command line says, and what a variable of
an option says (BERTH_PORT), goes before them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from berth.configuration.errors import ConfigurationError
from berth.configuration.read import Configuration, Value, dotted, read
from berth.configuration.tree import Key
from berth.server.own_keys import parse_api_keys

_ANY = "*"  # the name of the one model
# Each option of berth serve and its key.
KEYS: dict[str, tuple[str | int, ...]] = {
    "models": ("models", _ANY, "source"),
    "model_id": ("models", _ANY),
    "alias": ("aliases",),
    "host": ("listeners", 0, "host"),
    "port": ("listeners", 0, "port"),
    "max_waiting": ("limits", "max_waiting"),
    "request_timeout": ("limits", "request_timeout"),
    "grace": ("limits", "grace"),
    "max_loaded": ("limits", "max_loaded"),
    "keep_alive": ("limits", "keep_alive"),
    "pin": ("models", _ANY, "pin"),
    "allow_shutdown": ("http", "allow_shutdown"),
    "cors_origin": ("http", "cors_origins"),
    "allowed_host": ("http", "allowed_hosts"),
    "forwarded_allow": ("http", "forwarded_allow"),
    "log_format": ("log", "format"),
    "log_level": ("log", "level"),
    "state_dir": ("store", "state_dir"),
    "database": ("store", "database"),
    **{
        name: ("models", _ANY, name)
        for name in (
            "weights", "tokenizer", "chat_template", "engine", "dtype", "device", "device_map",
            "degree", "threads", "max_model_len", "max_num_seqs", "max_batch_tokens",
            "kv_cache_memory", "memory_fraction", "load_in_8bit", "load_in_4bit",
            "trust_remote_code", "verify", "hang_timeout", "restart_pause",
        )
    },
    "no_prefix_caching": ("models", _ANY, "prefix_caching"),
}  # fmt: skip
COMMAND_LINE_ONLY = {
    "config": "names the file itself",
    "models_dir": "adds what its folder holds when the server starts",
    "nnodes": "is the launcher's, together with node_rank",
    "node_rank": "differs between machines that share one file",
    "rdzv_endpoint": "is the launcher's, together with node_rank",
    "disable_trust_remote_code": "is KAITO's word for what is the default here",
}
_NEGATED = frozenset({"no_prefix_caching"})
_LISTS = frozenset({"cors_origin", "allowed_host", "forwarded_allow"})


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that was read, and what it makes of the options of serve."""

    path: Path | None
    configuration: Configuration
    options: dict[str, Any]  # of several models only what is the server's
    models: dict[str, dict[str, Any]]  # what each of several says of itself, by its name
    keys: tuple[str, ...]  # secrets

    def __repr__(self) -> str:
        return f"Loaded({self.path})"  # no secret reaches a log


def load(path: Path | None, environment: Mapping[str, str]) -> Loaded:
    """Read a file, or the environment alone. Raises ConfigurationError."""
    configuration = read_file(path, environment)
    names = model_names(configuration)
    keys = _keys(configuration, path)
    if len(names) > 1:
        shared = {option for option, key in KEYS.items() if _ANY not in key}
        options = _options(configuration, path, names[0], shared)
        values = {name: configuration.values.get(("models", name, "pin")) for name in names}
        options["pin"] = [name for name, pin in values.items() if pin is not None and pin.value]
        own = KEYS.keys() - shared - {"pin"}
        return Loaded(
            path,
            configuration,
            options,
            {name: _options(configuration, path, name, own) for name in names},
            keys,
        )
    options = _options(configuration, path, names[0] if names else None, KEYS.keys())
    if environment.get("BERTH_MODEL"):  # taken if no model is named otherwise
        options.pop("models", None)
    return Loaded(path, configuration, options, {}, keys)


def read_file(path: Path | None, environment: Mapping[str, str]) -> Configuration:
    """The configuration, without its secrets. Raises ConfigurationError."""
    text = None
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ConfigurationError([f"{path}: not UTF-8 text"]) from None
        except OSError as error:
            said = os.strerror(error.errno or 0)
            raise ConfigurationError([f"{path}: cannot be read: {said}"]) from None
    return read(text, str(path or "berth.yaml"), environment)


def model_names(configuration: Configuration) -> list[str]:
    """The models' names, the default one first."""
    models = configuration.tree.models
    return list(models) if isinstance(models, dict) else []


def aliases(configuration: Configuration) -> dict[str, str]:
    """The models' further names, and the model of each."""
    found = configuration.tree.aliases
    return found if isinstance(found, dict) else {}


def key_of(option: str, name: str | None) -> tuple[str | int, ...] | None:
    """The key of an option of serve, with the model's name in it; None if it has none."""
    key = KEYS.get(option)
    if key is None or (name is None and _ANY in key):
        return None
    return tuple(name if word == _ANY and name is not None else word for word in key)


def given(configuration: Configuration, option: str, name: str | None) -> tuple[Any, str] | None:
    """What the configuration says for an option, as click takes it, and where it says so.

    `name`: of the model, for an option of one.
    """
    key = key_of(option, name)
    if key is None:
        return None
    found = [(at, value) for at, value in configuration.values.items() if at[: len(key)] == key]
    if option == "model_id":
        return name, found[0][1].origin if found else str(configuration.name)
    if option == "models" and not found:  # `models: {pocket: {}}`
        return [name], str(configuration.name)
    if not found:
        return None
    origin = found[0][1].origin
    if option == "alias":
        return [str(at[1]) for at, _ in found], origin
    if option == "models":
        return [found[0][1].value], origin
    if option == "pin":
        return [name] if found[0][1].value else [], origin
    if option in _LISTS:
        return [value.value for at, value in found if at != key], origin
    return (not found[0][1].value if option in _NEGATED else found[0][1].value), origin


def _options(
    configuration: Configuration, path: Path | None, name: str | None, options: Iterable[str]
) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for option in options:
        value = given(configuration, option, name)
        if value is None:
            continue
        said[option] = value[0]
        at = configuration.values.get(key_of(option, name) or ())
        if at is not None and at.path:
            said[option] = _resolved(at, path)
        elif at is not None and option == "models" and _relative(at.value):
            said[option] = [_resolved(at, path)]
    return said


def _relative(source: str) -> bool:
    """Whether a model's source can be nothing but a path of the file's own folder, or of home."""
    return source.startswith(("./", "../", "~/"))


def _resolved(value: Value, path: Path | None) -> str:
    found = Path(value.value).expanduser()
    return str(path.parent / found) if value.from_file and path is not None else str(found)


def _keys(configuration: Configuration, path: Path | None) -> tuple[str, ...]:
    """The keys that the file refers to. Raises ConfigurationError; no error repeats a key."""
    keys = configuration.tree.keys
    found: list[str] = []
    problems: list[str] = []
    for at, one in enumerate(keys if isinstance(keys, list) else []):
        try:
            found += _secrets(one, at, configuration, path)
        except ValueError as error:
            word = "env" if isinstance(one.env, str) else "file"
            value = configuration.values["keys", at, word]
            problems.append(f"{value.origin}: keys[{at}].{word}: {error}")
    if problems:
        raise ConfigurationError(problems)
    return tuple(dict.fromkeys(found))


def _secrets(one: Key, at: int, configuration: Configuration, path: Path | None) -> tuple[str, ...]:
    """The keys of one entry; at least one, since a server without keys is open."""
    if isinstance(one.env, str):
        text, where = os.environ.get(one.env), one.env
        if not (text or "").strip():
            raise ValueError(f"the variable {where} is not set")
    else:
        where = _resolved(configuration.values["keys", at, "file"], path)
        try:
            text = Path(where).read_text(encoding="utf-8")
        except OSError as error:
            said = os.strerror(error.errno or 0)
            raise ValueError(f"{where} cannot be read: {said}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{where} is not UTF-8 text") from None
        text = ",".join(text.split("\n"))
    secrets = parse_api_keys(text, where)
    if not secrets:
        raise ValueError(f"{where} has no key in it")
    return secrets


def _take(ctx: click.Context, _parameter: click.Parameter, path: Path | None) -> Loaded:
    try:
        loaded = load(path, os.environ)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    ctx.default_map = {**(ctx.default_map or {}), **loaded.options}
    return loaded


CONFIG_OPTION = click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="BERTH_CONFIG",
    is_eager=True,  # the other options' defaults are in it
    callback=_take,
    help="File with these options by key, as berth.yaml; docs/configuration.md has the keys.",
)


def loaded_by(ctx: click.Context) -> Loaded:
    """What the context's command was given by --config."""
    loaded = ctx.params["config"]
    assert isinstance(loaded, Loaded)
    return loaded


_FIRST = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


def for_model(ctx: click.Context, said: Mapping[str, Any]) -> dict[str, Any]:
    """The command's options for one of several models: its own keys under what goes before them.

    Raises: click.UsageError for what an option does not take.
    """
    options = dict(ctx.params)
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if name in said and ctx.get_parameter_source(name) not in _FIRST:
            options[name] = parameter.type_cast_value(ctx, said[name])
    if ctx.get_parameter_source("weights") is ParameterSource.ENVIRONMENT:
        options["weights"] = said.get("weights")  # an image's own are those of its one model
    return options


def overridden(ctx: click.Context, loaded: Loaded) -> list[str]:
    """A sentence for each key that the command line or an option's own variable goes before."""
    said = []
    configuration = loaded.configuration
    for parameter in ctx.command.params:
        option = parameter.name or ""
        source = ctx.get_parameter_source(option)
        variable = parameter.envvar if source is ParameterSource.ENVIRONMENT else None
        if option == "models" and source is not ParameterSource.COMMANDLINE:
            taken = "models" not in loaded.options and not loaded.models
            variable = "BERTH_MODEL" if taken else None
        if option == "weights" and loaded.models:
            variable = None
        if source is not ParameterSource.COMMANDLINE and variable is None:
            continue
        for name in model_names(configuration) if _ANY in KEYS.get(option, ()) else [None]:
            value = given(configuration, option, name)
            if value is not None:
                key = dotted(key_of(option, name) or ())
                said.append(f"{value[1]}: {key} gives way to {variable or 'the command line'}")
    if loaded.models and os.environ.get("BERTH_MODEL"):
        said.append(f"BERTH_MODEL gives way to the {len(loaded.models)} models of {loaded.path}")
    return said
