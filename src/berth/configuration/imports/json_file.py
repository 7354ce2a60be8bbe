"""A JSON file that is one object, with each key once."""

from __future__ import annotations

import json
from typing import Any

from berth.configuration.errors import ConfigurationError


def load_object(text: str, name: str) -> dict[str, Any]:
    """Raises ConfigurationError, which names the file and the line."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ConfigurationError([f"{name}: {key[:60]!r} is given twice"])
            found[key] = value
        return found

    try:
        value = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ConfigurationError([f"{name}:{error.lineno}: not JSON: {error.msg}"]) from None
    except ConfigurationError:
        raise
    except (ValueError, RecursionError):
        raise ConfigurationError([f"{name}: not JSON that can be read"]) from None
    if not isinstance(value, dict):
        raise ConfigurationError([f"{name}: should be an object"])
    return value
