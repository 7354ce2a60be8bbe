"""Stop strings: the answer ends when one has appeared, and no part of it is ever shown. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence


class StopMatcher:
    """Looks for the first of several stop strings in a text that arrives in parts.

    The string that is complete first wins; of two that end together, the longer one. So the result
    does not depend on how the text was cut into parts.
    """

    def __init__(self, stops: Sequence[str], *, shown: bool = False) -> None:
        self._shown = shown  # whether the stop string itself is part of the answer
        self._stops = tuple(stops)
        self._held = ""
        firsts = "".join(sorted({stop[0] for stop in stops}))
        self._first = re.compile(f"[{re.escape(firsts)}]" if firsts else "(?!)")

    def feed(self, text: str) -> tuple[str, bool]:
        """Return (what may be shown now, whether a stop string is complete).

        What may still become the beginning of a stop string is held back. After a stop string
        nothing more should be fed.
        """
        if not self._held and not self._first.search(text):
            return text, False
        text = self._held + text
        found = [(at + len(s), at) for s in self._stops if (at := text.find(s)) >= 0]
        if found:
            self._held = ""
            return text[: min(found)[0 if self._shown else 1]], True
        hold = self._start_of_partial(text)
        self._held = text[hold:]
        return text[:hold], False

    def flush(self) -> str:
        """Return what was held back, when the answer has ended without a stop string."""
        held, self._held = self._held, ""
        return held

    def _start_of_partial(self, text: str) -> int:
        """Where the longest ending of `text` that begins a stop string starts."""
        for match in self._first.finditer(text):
            tail = text[match.start() :]
            if any(stop.startswith(tail) for stop in self._stops):
                return match.start()
        return len(text)
