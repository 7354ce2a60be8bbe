"""What a key is: a name, what it may do, and until when. Pure.

Times are whole seconds since 1970 in UTC, so that both databases hold the same numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["user", "admin"]
Status = Literal["active", "expired", "revoked"]
# The ways to talk to the server that a key may be tagged with: its holder's client expects that
# dialect's answers where a path alone does not tell.
DialectTag = Literal["openai", "llm_api", "llama_api", "local_llm", "kaito", "node"]

MAX_NAME, MAX_NOTE, MAX_MODEL, MAX_MODELS = 100, 1000, 200, 1000  # characters, and a count
MAX_REQUESTS_PER_MINUTE, MAX_CONCURRENT = 1_000_000, 100_000
_ID = re.compile(r"key_[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """What an owner decides about a key.

    Raises:
        ValueError: a value outside its range; the message names the field.
    """

    name: str
    note: str = ""
    role: Role = "user"
    models: tuple[str, ...] = ()  # that it may use; none named: all
    requests_per_minute: int | None = None  # None: no limit
    concurrent: int | None = None  # requests at one time; None: no limit
    expires_at: int | None = None
    dialect: DialectTag | None = None

    def __post_init__(self) -> None:
        _check_text("name", self.name, MAX_NAME)
        if is_id(self.name):
            raise ValueError("name must not look like a key's id")
        if self.note:
            _check_text("note", self.note, MAX_NOTE)
        _check_one_of("role", self.role, get_args(Role))
        if self.dialect is not None:
            _check_one_of("dialect", self.dialect, get_args(DialectTag))
        if len(self.models) > MAX_MODELS:
            raise ValueError(f"model may be given {MAX_MODELS} times at most")
        for model in self.models:
            _check_text("model", model, MAX_MODEL)
        _check_count("requests_per_minute", self.requests_per_minute, MAX_REQUESTS_PER_MINUTE)
        _check_count("concurrent", self.concurrent, MAX_CONCURRENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key as it is stored. Never holds its secret."""

    id: str
    name: str
    note: str
    role: Role
    models: tuple[str, ...]
    requests_per_minute: int | None
    concurrent: int | None
    dialect: DialectTag | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    rotated_at: int | None
    last_used_at: int | None
    hint: str  # how its newest secret begins, by which a person knows it again

    def status(self, now: int) -> Status:
        """Whether it opens anything at `now`."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and now >= self.expires_at:
            return "expired"
        return "active"


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret of a key, by its digest. A rotated key may have two for a while."""

    digest: bytes  # 32 bytes, SHA-256
    key_id: str
    valid_until: int | None  # None: as long as the key


def is_id(text: str) -> bool:
    """Whether it has the form of a key's id."""
    return _ID.fullmatch(text) is not None


def _check_text(field: str, text: str, longest: int) -> None:
    if not text:
        raise ValueError(f"{field} must not be empty")
    if len(text) > longest:
        raise ValueError(f"{field} must have {longest} characters at most, not {len(text)}")
    if not text.isprintable():
        raise ValueError(f"{field} must have printable characters only")
    if text != text.strip():
        raise ValueError(f"{field} must not begin or end with a space")


def _check_one_of(field: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{field} must be one of {', '.join(known)}")


def _check_count(field: str, value: int | None, most: int) -> None:
    if value is not None and not 1 <= value <= most:
        raise ValueError(f"{field} must be between 1 and {most}, not {value}")
