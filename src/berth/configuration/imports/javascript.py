"""The object literal of a config.js: strings, numbers, truths, objects, lists. No code is run."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from berth.configuration.errors import ConfigurationError

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<string>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\$]|\\.)*`)
    |(?P<number>-?\d+(?:\.\d+)?)
    |(?P<word>[A-Za-z_$][\w$]*)
    |(?P<mark>[{}\[\],:;=.])""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"true": True, "false": False, "null": None, "undefined": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}
_MOST_DEPTH = 32


def read_object(text: str, name: str) -> dict[str, Any]:
    """The object that `const NAME = {…}`, `module.exports = {…}` or `export default {…}` has.

    Raises ConfigurationError with the line of what is no literal.
    """
    return _Reader(text, name).module()


class _Reader:
    def __init__(self, text: str, name: str) -> None:
        self._name = name
        self._tokens: list[tuple[str, str, int]] = []
        at, line = 0, 1
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise ConfigurationError([f"{name}:{line}: {text[at]!r} is no part of a literal"])
            kind = str(match.lastgroup)
            if kind != "space":
                self._tokens.append((kind, match[0], line))
            line += match[0].count("\n")
            at = match.end()
        self._tokens.append(("end", "the end of the file", line))
        self._at = 0

    def module(self) -> dict[str, Any]:
        """Everything before the first `= {` or `default {` has to be words and dots."""
        while self._tokens[self._at][:2] != ("mark", "{"):
            if self._tokens[self._at][0] not in ("word", "mark"):
                self._refuse()
            self._at += 1
        found = self._object(0)
        while self._tokens[self._at][0] != "end":  # `; module.exports = config;`
            if self._tokens[self._at][0] not in ("word", "mark") or self._peek() in "{[:,":
                self._refuse()
            self._at += 1
        return found

    def _peek(self) -> str:
        return self._tokens[self._at][1]

    def _refuse(self) -> NoReturn:
        _, said, line = self._tokens[self._at]
        raise ConfigurationError(
            [f"{self._name}:{line}: {said[:60]!r} is no literal, and nothing is computed"]
        )

    def _value(self, depth: int) -> Any:
        if depth > _MOST_DEPTH:
            self._refuse()
        kind, said, _ = self._tokens[self._at]
        if said == "{" and kind == "mark":
            return self._object(depth)
        if said == "[" and kind == "mark":
            return self._list(depth)
        if kind == "string":
            self._at += 1
            return _unescaped(said[1:-1])
        if kind == "number":
            self._at += 1
            return float(said) if "." in said else int(said[:18])
        if kind != "word" or said not in _WORDS:
            self._refuse()
        self._at += 1
        return _WORDS[said]

    def _object(self, depth: int) -> dict[str, Any]:
        self._at += 1
        found: dict[str, Any] = {}
        while self._peek() != "}":
            kind, said = self._tokens[self._at][:2]
            key = _unescaped(said[1:-1]) if kind == "string" else said
            if kind not in ("string", "word", "number") or key in found:
                self._refuse()
            self._at += 1
            self._expect(":")
            found[key] = self._value(depth + 1)
            if self._peek() != "}":
                self._expect(",")
        self._at += 1
        return found

    def _list(self, depth: int) -> list[Any]:
        self._at += 1
        found: list[Any] = []
        while self._peek() != "]":
            found.append(self._value(depth + 1))
            if self._peek() != "]":
                self._expect(",")
        self._at += 1
        return found

    def _expect(self, mark: str) -> None:
        if self._tokens[self._at][:2] != ("mark", mark):
            self._refuse()
        self._at += 1


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text, flags=re.DOTALL)
