"""Options as lists: those that several commands share, and those that fill a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def options_of(*groups: Iterable[Callable[..., Any]]) -> Callable[..., Any]:
    """A decorator that gives a command these options, in this order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return decorate
