"""SIGHUP: berth.yaml read anew while streams run. What can change does; the rest is named."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from berth.cli.config_file import KEYS, Loaded, aliases, key_of, load, model_names
from berth.configuration.read import dotted
from berth.configuration.tree import RELOADED
from berth.server.own_keys import parse_api_keys

if TYPE_CHECKING:  # it imports what `berth config` can do without
    from berth.server.keys import Keys

_log = logging.getLogger("berth.server")
_FIRST = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


class Reload:
    """Called for each SIGHUP, on the event loop's thread."""

    def __init__(
        self,
        ctx: click.Context,
        loaded: Loaded,
        keys: Keys,
        set_aliases: Callable[[Mapping[str, str]], None],
        set_max_waiting: Callable[[int], None] | None,
    ) -> None:
        self.path = loaded.path
        self._running = _values(loaded)  # by key; what waits for a restart is the old value
        self._keys = keys
        self._set_aliases, self._set_max_waiting = set_aliases, set_max_waiting
        self._defaults = {one.name or "": one.default for one in ctx.command.params}
        self._fixed = {name for name in KEYS if ctx.get_parameter_source(name) in _FIRST}

    def __call__(self) -> None:
        try:
            fresh = load(self.path, os.environ)
            own = _own_keys(fresh, self._keys)
        except ValueError as error:
            for line in str(error).splitlines():
                _log.error("not reloaded, all stays as it is: %s", line)
            return
        if "alias" not in self._fixed:
            self._set_aliases(aliases(fresh.configuration))
        if self._set_max_waiting is not None and "max_waiting" not in self._fixed:
            self._set_max_waiting(self._option(fresh, "max_waiting"))
        if own != self._keys.own:
            self._keys.own = own
            _log.info("keys: %d of the owner's own hold from now on", len(own))
        self._tell(fresh)
        # Last, so that a level that hides these lines hides only what comes after them.
        if "log_level" not in self._fixed:
            logging.getLogger("berth").setLevel(self._option(fresh, "log_level").upper())

    def _tell(self, fresh: Loaded) -> None:
        """Log each key that differs from what runs; a restart's are told at every reload."""
        now = _values(fresh)
        names: list[str | None] = [*model_names(fresh.configuration), None]
        keys = [key_of(option, name) for option in self._fixed for name in names]
        fixed = tuple(dotted(key) for key in keys if key is not None)
        for key in sorted({*now, *self._running}):
            if now.get(key) == self._running.get(key):
                continue
            if key.startswith(fixed):
                _log.warning("%s gives way to the command line or a variable", key)
            elif self._reloaded(key):
                _log.info("%s is changed", key)
                self._running.pop(key, None)
                if key in now:
                    self._running[key] = now[key]
            else:
                _log.warning("%s changes with a restart of the server, not before", key)
        _log.info("%s is read anew", self.path or "the environment")

    def _reloaded(self, key: str) -> bool:
        if key == "limits.max_waiting" and self._set_max_waiting is None:
            return False  # models that are loaded on demand share one queue, made at the start
        return any(key == one or key.startswith((f"{one}.", f"{one}[")) for one in RELOADED)

    def _option(self, fresh: Loaded, name: str) -> Any:
        return fresh.options.get(name, self._defaults[name])


def _values(loaded: Loaded) -> dict[str, Any]:
    names = {f"models.{name}": name for name in model_names(loaded.configuration)}
    values = loaded.configuration.values.items()
    return {**names, **{dotted(key): value.value for key, value in values}}


def _own_keys(fresh: Loaded, keys: Keys) -> tuple[bytes, ...]:
    """The owner's own keys from now on. Raises ValueError if a server with keys had none left."""
    own = dict.fromkeys((*parse_api_keys(os.environ.get("BERTH_API_KEY")), *fresh.keys))
    if keys.own and not own:
        raise ValueError("keys: none is left, and a server with keys does not open to all")
    return tuple(key.encode() for key in own)
