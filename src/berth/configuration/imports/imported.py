"""What an importer makes: a tree for berth.yaml, and each key that is not in it, with the reason.

An importer takes each key out of what it was given; `leave_all` names those that it does not know,
so that none is lost in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from berth.configuration.read import read

SAMPLING = "send it with each request; a configuration has no sampling defaults yet"
PROMPT = "send it with each request as the system message; personalities and profiles are not yet"
OFFLOAD = "the whole model is on the GPU if there is one (--device)"
KEYS = "no key is written to berth.yaml: make new ones with berth keys create"
LLAMA_CPP = "llama.cpp's own setting, which Berth's engines have no use for"
NO_GGUF = (
    "a file of llama.cpp, which Berth's engines do not read: name a folder or a hub id with "
    "safetensors as the source"
)


@dataclass(slots=True)
class Imported:
    """`models` by name. `left`: what is to be said of keys: why each is not carried over."""

    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    listener: dict[str, Any] = field(default_factory=dict)
    log: dict[str, Any] = field(default_factory=dict)
    left: list[tuple[str, str]] = field(default_factory=list)

    def leave(self, key: str, reason: str) -> None:
        """Say that a key is not carried over."""
        self.left.append((key, reason))

    def leave_all(self, values: Mapping[str, Any], prefix: str, reasons: Mapping[str, str]) -> None:
        """Say so of every key of `values`, with its reason of `reasons`."""
        for key in values:
            self.leave(prefix + key, reasons.get(key, "Berth does not know this key"))

    def whole(self, key: str, value: Any, least: int, most: int | None = None) -> int | None:
        """A whole number within its bounds; else None, and the key is left."""
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if fits and (most is None or value <= most):
            return int(value)
        bounds = f"from {least}" + (f" to {most}" if most is not None else "")
        self.leave(key, f"should be a whole number {bounds}, not {value!r:.60}")
        return None

    def model(
        self,
        source: str,
        at: str,
        values: dict[str, Any],
        prefix: str,
        numbers: Iterable[tuple[str, str, int]],
    ) -> dict[str, Any]:
        """A model as berth.yaml has it.

        Args:
            at: the key that holds its file.
            values: what else is said of it, under keys with `prefix`; loses what is taken.
            numbers: of those that are taken, the key here, the key there, and the least value.
        """
        if is_gguf(source):
            self.leave(at, f"carried over, but it is {NO_GGUF}")
        model: dict[str, Any] = {"source": source}
        for word, key, least in numbers:
            if word in values:
                number = self.whole(prefix + word, values.pop(word), least)
                if number is not None:
                    model[key] = number
        return model

    def text(self) -> str:
        """berth.yaml. Raises ConfigurationError if a name or a value cannot stand in one."""
        tree: dict[str, Any] = {"models": self.models}
        if self.aliases:
            tree["aliases"] = self.aliases
        if self.listener:
            tree["listeners"] = [self.listener]
        if self.log:
            tree["log"] = self.log
        written: str = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
        read(written, "the imported berth.yaml", {})
        return written


def is_gguf(path: str) -> bool:
    """Whether a file's name is one of llama.cpp's."""
    return path.lower().endswith((".gguf", ".ggml", ".bin"))
