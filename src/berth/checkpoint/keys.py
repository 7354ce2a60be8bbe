"""Typed reading of a config.json's keys, with errors that name the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from berth.checkpoint.layers import NumbersError


class Keys:
    """The keys of a config.json, or of a mapping inside it. A key that is null counts as absent."""

    def __init__(self, values: Mapping[str, Any], prefix: str = "") -> None:
        self.values = values
        self._prefix = prefix

    def has(self, *names: str) -> bool:
        """Whether any of them is there."""
        return any(self.values.get(name) is not None for name in names)

    def whole(self, *names: str, default: int | None = None) -> int:
        """The first of `names` that is there, a whole number of at least 0."""
        for name in names:
            value = self.values.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise self.refuse(name, "a whole number")
            return value
        if default is None:
            raise NumbersError(f"{self._prefix}{names[0]} is missing; it should be a whole number")
        return default

    def maybe(self, *names: str) -> int | None:
        """As `whole`, but None where none of them is there."""
        return self.whole(*names) if self.has(*names) else None

    def flag(self, name: str, default: bool) -> bool:
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.refuse(name, "true or false")
        return value

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise self.refuse(name, "a string")
        return value

    def names(self, name: str) -> list[str] | None:
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, Sequence) or not all(isinstance(item, str) for item in value):
            raise self.refuse(name, "a list of strings")
        return list(value)

    def under(self, name: str) -> Keys | None:
        """The mapping of this name; None where there is none."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.refuse(name, "a mapping")
        return Keys(value, f"{self._prefix}{name}.")

    def part(self, name: str) -> Keys:
        """The mapping of this name, which must be there."""
        if (keys := self.under(name)) is None:
            raise NumbersError(f"{self._prefix}{name} is missing; it should be a mapping")
        return keys

    def refuse(self, name: str, wanted: str) -> NumbersError:
        shown = repr(self.values.get(name))
        return NumbersError(f"{self._prefix}{name} is {shown[:80]}; it should be {wanted}")
