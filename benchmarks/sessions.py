"""What a session's exchange costs: `python -m benchmarks.sessions` prints it as JSON, in ms.

On SQLite, in a session that has 10,000 exchanges already: reading the last five, and writing one
more, which includes waiting for the disk (`synchronous=FULL`).
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import click
from sqlalchemy import insert

from berth.store.database import open_database, writing
from berth.store.place import Place
from berth.store.sessions import SessionStore
from berth.store.tables import session_exchanges, sessions
from berth.store.window import Exchange, Room

_OWNER, _ID = "key_0123456789abcdef", "1"
_TEXT = "The capital of France is Paris, which lies on the Seine. " * 8


@click.command()
@click.option("--exchanges", default=10_000, show_default=True, type=click.IntRange(1))
@click.option("--repeats", default=500, show_default=True, type=click.IntRange(2))
@click.option("--folder", type=click.Path(path_type=Path), help="On the disk that counts.")
def main(exchanges: int, repeats: int, folder: Path | None) -> None:
    """Print wall-clock and CPU time of an exchange: median, and the slowest of a hundred."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        place = Place(file=Path(made) / "berth.db")
        _fill(place, exchanges)
        store = SessionStore(place)
        walls, reads = [], []
        cpu = time.process_time()
        for number in range(repeats):
            started = time.perf_counter()
            count, history = store.window(_OWNER, _ID, Room(5))
            reads.append(time.perf_counter() - started)
            assert (count, len(history)) == (exchanges + number, min(5, count))
            store.append(_OWNER, _ID, _exchange(number), after=count)
            walls.append(time.perf_counter() - started)
        cpu = time.process_time() - cpu
        store.close()
    report = {
        "exchange": round(statistics.median(walls) * 1e3, 3),
        "exchange, slowest of a hundred": round(statistics.quantiles(walls, n=100)[-1] * 1e3, 3),
        "of it reading": round(statistics.median(reads) * 1e3, 3),
        "CPU": round(cpu / repeats * 1e3, 3),
    }
    click.echo(json.dumps({f"ms at {exchanges} exchanges": report}, indent=2))


def _exchange(number: int) -> Exchange:
    return Exchange(asked=_TEXT, answered=_TEXT, tokens=200, created_at=1_800_000_000 + number)


def _fill(place: Place, exchanges: int) -> None:
    """A session of so many, in one transaction."""
    engine = open_database(place)
    one = _exchange(0)
    with writing(engine) as connection:
        connection.execute(
            insert(sessions).values(
                number=1, owner=_OWNER, id=_ID, name="x", exchanges=exchanges,
                created_at=one.created_at, updated_at=one.created_at,
            )
        )  # fmt: skip
        connection.execute(
            insert(session_exchanges),
            [
                {
                    "session": 1, "place": place_in_it, "asked": one.asked,
                    "answered": one.answered, "tokens": one.tokens, "created_at": one.created_at,
                }
                for place_in_it in range(1, exchanges + 1)
            ],
        )  # fmt: skip
    engine.dispose()


if __name__ == "__main__":
    main()
