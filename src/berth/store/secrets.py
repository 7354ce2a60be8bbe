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
_HINT_CHARACTERS = len(_PREFIX) + 4  # leaves 232 bits unknown


def secret_of(entropy: bytes) -> str:
    """The secret with these random bytes: printable ASCII that needs no quoting anywhere.

    Raises ValueError where there are not ENTROPY_BYTES of them.
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
