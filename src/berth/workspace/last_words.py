"""What of a container's last log lines a condition repeats: whole lines, and those that matter.

A container's termination message holds the end of its log, cut wherever its 2,048 bytes began.
Most of it may be one line a request, and the error stands some lines before.
"""

from __future__ import annotations

import msgspec

_LONGEST = 1000  # characters, of all lines together
_MOST = 8  # lines
_BAD = frozenset({"error", "critical", "fatal", "warning"})
_CALM = frozenset({"info", "debug"})
_ACCESS = "berth.access"


def last_words(log: str) -> str:
    """The lines of errors if there are any, else the last lines that are no request's."""
    lines = [line.strip() for line in log.splitlines()]
    read = [_read(line) for line in lines if line]
    bad = [words for level, words in read if level in _BAD]
    plain = [words for level, words in read if level == ""]
    calm = [words for level, words in read if level in _CALM]
    return _join(bad or plain or calm)


def _read(line: str) -> tuple[str, str]:
    """Level and words of a line; "": it says no level. "cut": nothing to be repeated."""
    if not line.startswith("{"):
        # The beginning of a line of JSON may have been cut off.
        return ("cut", "") if line.endswith("}") and '"' in line else ("", line)
    try:
        entry = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return "cut", ""
    level, message = entry.get("level"), entry.get("message")
    if not isinstance(level, str) or not isinstance(message, str):
        return "", line
    if entry.get("logger") == _ACCESS:
        return "cut", ""
    error = entry.get("error")
    return level.lower(), f"{message} ({error})" if isinstance(error, str) else message


def _join(lines: list[str]) -> str:
    """As many of the last lines as have room, each whole; of one that has none, its beginning."""
    kept: list[str] = []
    for line in reversed(lines[-_MOST:]):
        if kept and sum(map(len, kept)) + len(line) > _LONGEST:
            break
        kept.append(line if len(line) <= _LONGEST else line[:_LONGEST] + "…")
    return "\n".join(reversed(kept))
