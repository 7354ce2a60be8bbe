"""The keys that a server's owner gives it, as text: in BERTH_API_KEY, or where berth.yaml says."""

from __future__ import annotations

from berth.store.secrets import can_be_sent, is_placeholder


def parse_api_keys(text: str | None, where: str = "BERTH_API_KEY") -> tuple[str, ...]:
    """The keys in BERTH_API_KEY: one, or several separated by commas; none if unset or empty.

    `where` is what an error names in its place.

    Raises:
        ValueError: a key that no header can carry, or a placeholder. The key is not repeated.
    """
    keys = tuple(key for key in (part.strip() for part in (text or "").split(",")) if key)
    for position, key in enumerate(keys, start=1):
        if not can_be_sent(key):
            raise ValueError(f"key {position} of {where} must be printable ASCII without spaces")
        if is_placeholder(key):
            raise ValueError(f"key {position} of {where} is a placeholder; choose your own")
    return keys
