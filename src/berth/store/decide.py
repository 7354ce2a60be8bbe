"""Whether an offered secret opens anything. Pure.

A secret is looked for by the first 8 bytes of its SHA-256 and then compared whole, in constant
time. What a caller could learn from the time of the look-up is about a digest that it cannot steer
towards a stored one without inverting SHA-256.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from berth.store.records import Key, Secret
from berth.store.secrets import digest_of

_PREFIX_BYTES = 8
_NOBODY = Secret(bytes(32), "", None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of an offered secret. Only `key` with reason None opens anything."""

    key: Key | None = None
    reason: Literal["unknown", "revoked", "expired", "replaced"] | None = None


UNKNOWN = Verdict(None, "unknown")


class Snapshot:
    """All keys of a database at one moment.

    `version` is the number that each change of a key raises: an equal one means equal keys.
    """

    __slots__ = ("_secrets", "_verdicts", "keys", "version")

    def __init__(self, version: int, keys: Iterable[Key], secrets: Iterable[Secret]) -> None:
        self.version = version
        self.keys: Mapping[str, Key] = {key.id: key for key in keys}
        self._secrets: dict[bytes, list[Secret]] = {}
        for secret in secrets:
            if secret.key_id in self.keys:
                self._secrets.setdefault(secret.digest[:_PREFIX_BYTES], []).append(secret)
        self._verdicts = {key.id: Verdict(key) for key in self.keys.values()}

    def find(self, offered: bytes, now: int) -> Verdict:
        """What the secret `offered` is at `now` (seconds since 1970)."""
        digest = digest_of(offered)
        found = None
        for secret in self._secrets.get(digest[:_PREFIX_BYTES], (_NOBODY,)):
            if hmac.compare_digest(secret.digest, digest) and secret is not _NOBODY:
                found = secret
        if found is None:
            return UNKNOWN
        key = self.keys[found.key_id]
        status = key.status(now)
        if status != "active":
            return Verdict(key, status)
        if found.valid_until is not None and now >= found.valid_until:
            return Verdict(key, "replaced")
        return self._verdicts[key.id]


EMPTY = Snapshot(0, (), ())
