"""Reading one JSON object by key: a wrong type becomes a ConfigError that names key and value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from berth.checkpoint.config import ModelConfig
from berth.checkpoint.errors import ConfigError

DTYPES = ("float32", "float16", "bfloat16")  # what weights may be stored in
_WHOLE = "a whole number above zero"
_COUNT = "a whole number"


class Fields:
    """A view of a JSON object. A key that is absent or null takes the default, if there is one."""

    def __init__(
        self, values: Mapping[str, Any], file: str = "config.json", prefix: str = ""
    ) -> None:
        self.values = values
        self.file = file
        self.prefix = prefix  # "rope_scaling." inside that object

    def has(self, *keys: str) -> bool:
        """Whether any of them is there, and not null."""
        return any(self.values.get(key) is not None for key in keys)

    def is_null(self, key: str) -> bool:
        """Whether the key is there and says null, if that means more than "not given"."""
        return key in self.values and self.values[key] is None

    def refuse(self, key: str, why: str) -> ConfigError:
        """The error to raise about `key`; `why` continues the sentence after key and value."""
        value = json.dumps(self.values.get(key), default=repr)
        if len(value) > 200:
            value = value[:200] + "…"
        return ConfigError(f"{self.file}: {self.prefix}{key} is {value}: {why}")

    def missing(self, key: str, what: str) -> ConfigError:
        """The error to raise if `key` is not there."""
        return ConfigError(f"{self.file}: {self.prefix}{key} is missing; it must be {what}")

    def whole(self, *keys: str, default: int | None = None) -> int:
        """The first of `keys` that is there: a whole number above zero."""
        return self._whole(keys, default, 1, _WHOLE)

    def count(self, *keys: str, default: int | None = None) -> int:
        """The first of `keys` that is there: a whole number, zero included."""
        return self._whole(keys, default, 0, _COUNT)

    def _whole(self, keys: tuple[str, ...], default: int | None, least: int, what: str) -> int:
        for key in keys:
            value = self.values.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise self.refuse(key, f"it must be {what}")
            return value
        if default is None:
            raise self.missing(keys[0], what)
        return default

    def maybe(self, *keys: str) -> int | None:
        """As `whole`, but None if none of them is there."""
        return self.whole(*keys) if self.has(*keys) else None

    def number(self, key: str, default: float | None = None) -> float:
        what = "a number above zero"
        value = self.values.get(key)
        if value is None:
            if default is None:
                raise self.missing(key, what)
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(key, f"it must be {what}")
        if not 0 < value < float("inf"):  # JSON as Python reads it knows NaN and Infinity
            raise self.refuse(key, f"it must be {what}")
        return float(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers above zero, which must be there."""
        what = "a list of numbers above zero"
        value = self.values.get(key)
        if value is None:
            raise self.missing(key, what)
        if not isinstance(value, list) or not all(
            isinstance(n, int | float) and not isinstance(n, bool) and 0 < n < float("inf")
            for n in value
        ):
            raise self.refuse(key, f"it must be {what}")
        return tuple(float(n) for n in value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.refuse(key, "it must be true or false")
        return value

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self.refuse(key, "it must be a string")
        return value

    def names(self, key: str) -> list[str] | None:
        """A list of strings, or one of them; None if it is absent."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.refuse(key, "it must be a list of strings")
        return list(value)

    def token(self, key: str, default: int | None = None) -> int | None:
        """A token id, or None if the key says nothing and there is no default."""
        ids = self.tokens(key, () if default is None else (default,))
        if len(ids) > 1:
            raise self.refuse(key, "it must be one token id")
        return ids[0] if ids else None

    def tokens(self, key: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Token ids from one id or a list of them."""
        value = self.values.get(key)
        if value is None:
            return default
        ids = value if isinstance(value, list) else [value]
        if not all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in ids):
            raise self.refuse(key, "it must be a token id or a list of token ids")
        return tuple(ids)

    def nested(self, key: str) -> Fields | None:
        """The object under `key`; None if it is absent, null or empty."""
        value = self.values.get(key)
        if value is None or value == {}:
            return None
        if not isinstance(value, Mapping):
            raise self.refuse(key, "it must be an object")
        return Fields(value, self.file, f"{self.prefix}{key}.")

    def part(self, key: str) -> Fields:
        """The object under `key`, which must be there."""
        if not self.has(key):
            raise self.missing(key, "an object")
        return self.nested(key) or Fields({}, self.file, f"{self.prefix}{key}.")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; a ConfigError if it cannot be read or is something else."""
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path.name} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path.name} must hold a JSON object, not a {type(values).__name__}")
    return values


def validated(config: ModelConfig, file: str) -> ModelConfig:
    """`config` itself, once its numbers fit each other; else a ConfigError."""
    if config.num_heads % config.num_kv_heads:
        raise ConfigError(
            f"{file}: {config.num_heads} attention heads cannot share {config.num_kv_heads} "
            "key/value heads; the first must be a multiple of the second"
        )
    if config.head_dim % 2:
        raise ConfigError(
            f"{file}: the head dimension is {config.head_dim}; rotary embeddings need an even one"
        )
    rotated = config.rotary_dim or config.head_dim
    if rotated % 2 or rotated > config.head_dim:
        raise ConfigError(
            f"{file}: {rotated} of a head's {config.head_dim} dimensions would be rotated; it must "
            "be an even number of them"
        )
    scaling = config.rope_scaling
    if scaling is not None and scaling.kind == "longrope":
        for factors in (scaling.short_factors, scaling.long_factors):
            if len(factors) != rotated // 2:
                raise ConfigError(
                    f"{file}: longrope has {len(factors)} factors, and {rotated // 2} pairs of "
                    "dimensions are rotated; it must have one for each"
                )
    if config.windows and len(config.windows) != config.num_layers:
        raise ConfigError(
            f"{file}: it describes the attention of {len(config.windows)} layers, but there are "
            f"{config.num_layers}"
        )
    return config
