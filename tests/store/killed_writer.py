"""Writes keys and a session until it is killed: python killed_writer.py, told line by line.

Told `forever URL SEED`, it forks a child that makes keys, adds to the one session, rotates and
revokes keys without end. Told
`statement URL SEED N`, the child does one of each, and kills itself right before its Nth call of
the database's driver. What a child has been given back by the store it writes as a line of JSON,
which is the acknowledgement; "pid N" comes first and "ended" when it is dead.

Forking is what makes a round cheap: SQLAlchemy is imported once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from typing import Any

import alembic.command  # noqa: F401  # what the store imports when it needs it: before the fork
from sqlalchemy import Engine, event

from berth.store.keys import KeyStore
from berth.store.place import place_of
from berth.store.records import NewKey
from berth.store.sessions import SessionStore
from berth.store.window import Exchange

NOW = 1_800_000_000
OWNER, SESSION = "key_0123456789abcdef", "1"
STEPS = ("create", "say", "rotate", "revoke")


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # in one piece, so that a kill leaves no half a line


def _write(url: str, seed: int, steps: int | None) -> None:
    drawn = random.Random(seed)
    place = place_of(None, url, {})
    store, sessions = KeyStore(place), SessionStore(place)
    _say(json.dumps({"did": "open"}))
    made: list[str] = []
    done = 0
    while steps is None or done < steps:
        what = "create" if not made else STEPS[done % len(STEPS)]
        if what == "create":
            key, secret = store.create(NewKey(name=f"{seed}-{done}"), NOW)
            made.append(key.id)
            _say(json.dumps({"did": what, "id": key.id, "secret": secret}))
        elif what == "rotate":
            key, secret = store.rotate(drawn.choice(made), NOW, 0)
            _say(json.dumps({"did": what, "id": key.id, "secret": secret}))
        elif what == "say":
            words = f"{seed}-{done}"
            exchange = Exchange(asked=words, answered=words[::-1], tokens=done, created_at=NOW)
            place_in_it = sessions.append(OWNER, SESSION, exchange)
            _say(json.dumps({"did": what, "said": words, "place": place_in_it}))
        else:
            key_id = made.pop(drawn.randrange(len(made)))
            store.revoke(key_id, NOW)
            _say(json.dumps({"did": what, "id": key_id}))
        done += 1


def _die_at(statement: int) -> None:
    """Before the Nth statement, commit or rollback of any connection."""
    left = statement

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("before_cursor_execute", "begin", "commit", "rollback"):
        event.listen(Engine, name, count)


def main() -> None:
    for line in sys.stdin:
        what, url, seed, *rest = line.split()
        child = os.fork()
        if child == 0:
            try:
                if what == "statement":
                    _die_at(int(rest[0]))
                _write(url, int(seed), None if what == "forever" else len(STEPS))
                _say(json.dumps({"did": "all"}))
            finally:
                os._exit(0)
        _say(f"pid {child}")
        _, status = os.waitpid(child, 0)
        _say("ended killed" if os.WIFSIGNALED(status) else "ended")


if __name__ == "__main__":
    main()
