"""What a name that is not known may have been meant to be. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LIKE = 0.75  # share of the letters, in their order; below it, guesses are nonsense
_BEGUN = 3  # letters of a name that is only its beginning


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Names that differ by a letter or two, and those that begin with it; none if none is near.

    Args:
        known: names in small letters.
    """
    wanted, names = name.lower(), list(known)
    close = difflib.get_close_matches(wanted, names, n=most, cutoff=_LIKE)
    begun = [one for one in names if len(wanted) >= _BEGUN and one.startswith(wanted)]
    return list(dict.fromkeys([*close, *begun]))[:most]
