"""MODEL as commands take it: a preset, a folder or a hub id."""

from __future__ import annotations

from typing import Any

import click


class ModelName(click.ParamType):  # type: ignore[type-arg]  # not generic when it runs
    """Any text but an empty one, which `"$MODEL"` is while the variable is not set.

    A path library takes an empty text for the current folder.
    """

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not text.strip():
            self.fail("it is empty; give a preset, a folder or a hub id.", param, ctx)
        return text
