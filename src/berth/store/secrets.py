"""Secrets of keys: how they look, and what is stored of them. Pure.

Only the SHA-256 of a secret is stored. A slow hash (scrypt, Argon2) protects what people choose,
by making each guess dear; a secret of 256 random bits is beyond guessing at any rate, so that it
would add nothing but its own cost (tens of milliseconds) to each request.
"""

from __future__ import annotations

import base64
import hashlib

ENTROPY_BYTES = 32
_PREFIX = "sk-berth-"  # OpenAI's clients expect sk-, and scanners of leaked secrets find the rest
ADOPTED_HINT = "…"  # a few characters of a short secret would be much of it
_LEAST_ADOPTED = 16  # characters
_PLACEHOLDERS = frozenset({"YOUR-API-KEY-HERE"})  # shipped as a working key by one seed system
_HINT_CHARACTERS = len(_PREFIX) + 4  # leaves 232 bits unknown


def secret_of(entropy: bytes) -> str:
    """The secret with these random bytes: printable ASCII that needs no quoting anywhere.

    Raises ValueError unless there are ENTROPY_BYTES of them.
    """
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"a secret has {ENTROPY_BYTES} random bytes, not {len(entropy)}")
    return _PREFIX + base64.urlsafe_b64encode(entropy).rstrip(b"=").decode()


def digest_of(secret: bytes) -> bytes:
    """What is stored of a secret, and looked for: its SHA-256, 32 bytes."""
    return hashlib.sha256(secret).digest()


def hint_of(secret: str) -> str:
    """The beginning of a secret, as a list of keys shows it."""
    return secret[:_HINT_CHARACTERS] + "…"


def is_placeholder(secret: str) -> bool:
    """Whether it is a text that stood for a key in another system's files, and opened it."""
    return secret in _PLACEHOLDERS


def can_be_sent(secret: str) -> bool:
    """Whether a header can carry it: printable ASCII without spaces."""
    return secret.isascii() and secret.isprintable() and " " not in secret


def check_adopted(secret: str) -> None:
    """Raises ValueError for a secret of another system that should not go on to be one."""
    if is_placeholder(secret):
        raise ValueError("the secret is a placeholder")
    if not can_be_sent(secret):
        raise ValueError("the secret must be printable ASCII without spaces")
    if len(secret) < _LEAST_ADOPTED:
        raise ValueError(f"the secret has fewer than {_LEAST_ADOPTED} characters")
    if len(set(secret)) < _LEAST_ADOPTED // 2:
        raise ValueError("the secret repeats a few characters")
