"""Reading one JSON object by key: a wrong type becomes a ConfigError that names key and value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from berth.checkpoint.config import ConfigError, ModelConfig

DTYPES = ("float32", "float16", "bfloat16")  # what weights may be stored in


class Fields:
    """A view of a JSON object. A key that is absent or null takes the default, if there is one."""

    def __init__(self, values: Mapping[str, Any], file: str, prefix: str = "") -> None:
        self.values = values
        self.file = file
        self.prefix = prefix  # "rope_scaling." inside that object

    def has(self, key: str) -> bool:
        return self.values.get(key) is not None

    def is_null(self, key: str) -> bool:
        """Whether the key is there and says null, where that means more than "not given"."""
        return key in self.values and self.values[key] is None

    def refuse(self, key: str, why: str) -> ConfigError:
        """The error to raise about `key`; `why` continues the sentence after key and value."""
        value = json.dumps(self.values.get(key), default=repr)
        return ConfigError(f"{self.file}: {self.prefix}{key} is {value}: {why}")

    def _value(self, key: str, default: Any, what: str) -> Any:
        value = self.values.get(key)
        if value is not None:
            return value
        if default is None:
            raise ConfigError(f"{self.file}: {self.prefix}{key} is missing; it must be {what}")
        return default

    def whole(self, key: str, default: int | None = None) -> int:
        what = "a whole number above zero"
        value = self._value(key, default, what)
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise self.refuse(key, f"it must be {what}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        what = "a number above zero"
        value = self._value(key, default, what)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(key, f"it must be {what}")
        if not 0 < value < float("inf"):  # JSON as Python reads it knows NaN and Infinity
            raise self.refuse(key, f"it must be {what}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._value(key, default, "true or false")
        if not isinstance(value, bool):
            raise self.refuse(key, "it must be true or false")
        return value

    def token(self, key: str, default: int | None = None) -> int | None:
        """A token id, or None where the key says nothing and there is no default."""
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
        """The object under `key`; None where it is absent, null or empty."""
        value = self.values.get(key)
        if value is None or value == {}:
            return None
        if not isinstance(value, Mapping):
            raise self.refuse(key, "it must be an object")
        return Fields(value, self.file, f"{self.prefix}{key}.")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; a ConfigError where it cannot be read or is something else."""
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
    if config.windows and len(config.windows) != config.num_layers:
        raise ConfigError(
            f"{file}: it describes the attention of {len(config.windows)} layers, but there are "
            f"{config.num_layers}"
        )
    return config
