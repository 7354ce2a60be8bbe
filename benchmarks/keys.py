"""What asking for a key costs a request: `python -m benchmarks.keys` prints it as JSON, in µs.

The middleware alone, over a route that does nothing, on one thread: CPU time of `Authentication`
with each kind of key, less that of a server without keys. The database's key is one of 1,000; the
one reading of the database every two seconds is in it, at the rate of the requests.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from starlette.types import Message, Receive, Scope, Send

from berth.server.auth import Authentication
from berth.server.context import open_context
from berth.server.keys import Keys
from berth.server.settings import ServerSettings
from berth.store.keys import KeyStore
from berth.store.place import Place
from berth.store.records import NewKey
from berth.store.source import KeySource

_KEYS = 1000


@click.command()
@click.option("--requests", default=50_000, show_default=True, type=click.IntRange(1))
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(1))
def main(requests: int, rounds: int) -> None:
    """Print the median, least and most of the rounds."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(file=Path(folder) / "berth.db")
        store = KeyStore(place)
        now = int(time.time())
        for number in range(_KEYS - 2):
            store.create(NewKey(name=f"key {number}"), now)
        _, plain = store.create(NewKey(name="plain"), now)
        limited = NewKey(name="limited", requests_per_minute=1_000_000, concurrent=100)
        _, with_limits = store.create(limited, now)
        store.close()
        cases = {
            "none": (Keys(), None),
            "BERTH_API_KEY": (Keys(["sesame"]), "sesame"),
            "database": (_loaded(place), plain),
            "database, with limits": (_loaded(place), with_limits),
        }
        took: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(rounds):
            for name, (keys, secret) in cases.items():
                took[name].append(asyncio.run(_measure(keys, secret, requests)))
    base = statistics.median(took.pop("none"))
    report = {
        name: {
            "median": round(statistics.median(each) - base, 2),
            "least": round(min(each) - base, 2),
            "most": round(max(each) - base, 2),
        }
        for name, each in took.items()
    }
    click.echo(
        json.dumps({"microseconds of CPU a request": report, "without keys": base}, indent=2)
    )


def _loaded(place: Place) -> Keys:
    keys = Keys(source=KeySource(place))
    keys.load()
    return keys


async def _measure(keys: Keys, secret: str | None, requests: int) -> float:
    """CPU time of this process a request, in µs."""

    async def route(_: Scope, __: Receive, ___: Send) -> None:
        pass

    async def receive() -> Message:
        raise AssertionError

    async def send(_: Message) -> None:
        raise AssertionError

    app = Authentication(route, ServerSettings(host="0.0.0.0"), keys)
    headers = [(b"host", b"localhost"), (b"accept", b"*/*"), (b"user-agent", b"benchmark")]
    if secret is not None:
        headers.append((b"authorization", b"Bearer " + secret.encode()))
    scope: dict[str, Any] = {
        "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"",
        "headers": headers,
    }  # fmt: skip
    open_context(scope)
    started = time.process_time()
    for _ in range(requests):
        await app(scope, receive, send)
    seconds = time.process_time() - started
    await keys.close()
    return seconds / requests * 1e6


if __name__ == "__main__":
    main()
