"""Why the store cannot do what it was asked. Each message is a whole sentence, without secrets."""

from __future__ import annotations


class StoreError(Exception):
    """The database cannot be opened, read or written."""


class NoSuchKey(Exception):
    """No key has this name or id."""


class NameTaken(Exception):
    """Another key that is not revoked has this name."""


class SecretTaken(Exception):
    """Another key has this secret."""


class KeyIsRevoked(Exception):
    """The key was revoked, and stays so."""


class NoSuchSession(Exception):
    """This owner has no session of this id."""


class SessionMoved(Exception):
    """Another request has added to the session since it was read."""
