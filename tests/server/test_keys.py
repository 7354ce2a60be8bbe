"""Keys of a database: who may do what, until when, how often; and what a broken database does."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest
from app_client import AppClient
from fake_service import FakeService
from key_source import WALL, Clock, MemorySource, keys_of
from live_server import LiveServer
from starlette.routing import Route

import berth.server.keys as module
from berth.server import dialects
from berth.server.auth import ADMIN_PATHS, OPEN_PATHS
from berth.server.keys import FLUSH_SECONDS, OUTAGE_SECONDS, REFRESH_SECONDS, Keys
from berth.server.settings import ServerSettings
from berth.store.decide import Snapshot
from berth.store.keys import KeyStore
from berth.store.place import Place
from berth.store.records import NewKey
from berth.store.source import KeySource

CHAT = {"messages": [{"role": "user", "content": "x"}]}
GENERATING = [
    ("/v1/chat/completions", CHAT),
    ("/v1/completions", {"prompt": "x"}),
    ("/generate", {"prompts": ["x"]}),
    ("/chat", {"input_data": {"input_string": [[{"role": "user", "content": "x"}]]}}),
    ("/chat", {"prompt": "x"}),
]


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(service: FakeService, source: MemorySource, clock: Clock) -> Iterator[AppClient]:
    """An app over `source`, which a test fills; it is read again after REFRESH_SECONDS."""
    with AppClient(service, keys=keys_of(source, clock)) as client:
        yield client


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; fail the test if it does not in time."""
    for _ in range(4000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the condition did not come true in time")


def pass_refresh(clock: Clock) -> None:
    clock.now += REFRESH_SECONDS


def test_every_route_needs_a_key_once_one_exists_and_admins_alone_open_all(
    service: FakeService, source: MemorySource, clock: Clock
) -> None:
    user, admin = source.add("user"), source.add("admin", role="admin")
    walked = set()
    with AppClient(service, keys=keys_of(source, clock)) as client:
        # The shutdown last: a server that ends answers nothing else.
        for route in sorted(client.app.routes, key=lambda each: each.path in ADMIN_PATHS):
            assert isinstance(route, Route), "a mounted or included app would hide its routes here"
            for method in route.methods or ():
                path = route.path.replace("{model_id:path}", "pocket")
                walked.add(path)
                if route.path in OPEN_PATHS:
                    assert client.call(method, path, b"").status == 200, path
                    continue
                assert client.call(method, path, b"").status == 401, path
                assert client.call(method, path, b"", bearer("wrong")).status == 401, path
                as_user = client.call(method, path, b"", bearer(user)).status
                assert (as_user == 403) == (path in ADMIN_PATHS), path
                assert as_user != 401, path
                assert client.call(method, path, b"", bearer(admin)).status not in (401, 403), path
    assert walked > ADMIN_PATHS
    assert client.lifecycle.draining


def test_a_key_that_is_made_while_the_server_runs_closes_it(
    client: AppClient, source: MemorySource, clock: Clock
) -> None:
    assert client.post("/v1/chat/completions", CHAT).status == 200
    secret = source.add("first")
    pass_refresh(clock)
    assert client.post("/v1/chat/completions", CHAT).status == 401
    assert client.get("/v1/models").status == 401
    assert client.get("/v1/models", bearer(secret)).status == 200


def test_a_revoked_key_stops_within_two_seconds_and_the_last_one_opens_nothing(
    client: AppClient, source: MemorySource, clock: Clock
) -> None:
    secret = source.add("only")
    pass_refresh(clock)
    assert client.get("/v1/models", bearer(secret)).status == 200
    source.change("only", revoked_at=WALL)
    clock.now += REFRESH_SECONDS - 0.01
    assert client.get("/v1/models", bearer(secret)).status == 200
    clock.now += 0.01
    reply = client.get("/v1/models", bearer(secret))
    assert (reply.status, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert reply.json()["error"]["message"] == "Incorrect API key provided. It was revoked."
    assert client.get("/v1/models").status == 401, "without keys that open, nothing is open"
    assert REFRESH_SECONDS == 2.0, "as docs/keys.md says"


def test_a_server_that_was_idle_for_long_goes_by_no_old_key(
    client: AppClient, source: MemorySource, clock: Clock
) -> None:
    secret = source.add("only")
    pass_refresh(clock)
    assert client.get("/v1/models", bearer(secret)).status == 200
    source.change("only", revoked_at=WALL)
    clock.now += 10 * OUTAGE_SECONDS
    assert client.get("/v1/models", bearer(secret)).status == 401


def test_a_key_ends_by_the_clock_without_the_database(
    client: AppClient, source: MemorySource, clock: Clock
) -> None:
    secret = source.add("short", expires_at=WALL + 60)
    pass_refresh(clock)
    assert client.get("/v1/models", bearer(secret)).status == 200
    source.broken = True
    clock.now += 60
    reply = client.get("/v1/models", bearer(secret))
    assert reply.json()["error"]["message"] == "Incorrect API key provided. It has expired."


def test_the_owners_own_keys_stand_beside_those_of_the_database(
    service: FakeService, source: MemorySource, clock: Clock
) -> None:
    secret = source.add("user")
    with AppClient(service, keys=keys_of(source, clock, "sesame")) as client:
        for key in (secret, "sesame"):
            assert client.get("/v1/models", bearer(key)).status == 200
        assert client.post("/shutdown", b"", bearer(secret)).status == 403
        assert client.post("/shutdown", b"", bearer("sesame")).status == 200


@pytest.mark.parametrize(("path", "body"), GENERATING)
def test_a_key_for_another_model_generates_nothing(
    service: FakeService, source: MemorySource, clock: Clock, path: str, body: object
) -> None:
    other = source.add("other", models=("another-model",))
    named = source.add("named", models=("another-model", service.model_id))
    by_alias = source.add("by alias", models=("gpt-3.5-turbo",))
    with AppClient(service, aliases=("gpt-3.5-turbo",), keys=keys_of(source, clock)) as client:
        reply = client.post(path, body, bearer(other))
        assert reply.status == 403
        assert service.model_id in reply.body.decode()
        assert service.generations == []
        assert client.get("/v1/models", bearer(other)).json()["data"] == []
        assert client.get(f"/v1/models/{service.model_id}", bearer(other)).status == 403
        for secret in (named, by_alias):
            assert client.post(path, body, bearer(secret)).status == 200
            names = {one["id"] for one in client.get("/v1/models", bearer(secret)).json()["data"]}
            assert names == {service.model_id, "gpt-3.5-turbo"}


def test_of_two_models_a_key_reaches_the_one_that_it_names(
    service: FakeService, source: MemorySource, clock: Clock
) -> None:
    second = FakeService()
    second.model_id = "second"
    secret = source.add("b", models=("second",))
    with AppClient(service, keys=keys_of(source, clock), others=[second]) as client:

        def status(**model: str) -> int:
            return client.post("/v1/chat/completions", {**CHAT, **model}, bearer(secret)).status

        assert status(model="second") == 200
        assert status(model=service.model_id) == 403
        assert status() == 403, "without a name it is the first one's"
        assert status(model="third") == 404
        assert (len(service.generations), len(second.generations)) == (0, 1)
        names = [one["id"] for one in client.get("/v1/models", bearer(secret)).json()["data"]]
        assert names == ["second"]


def test_no_dialect_passes_the_check_of_a_model_by() -> None:
    folder = Path(dialects.__path__[0])
    for file in folder.rglob("*.py"):
        assert "models.acquire(" not in file.read_text(), f"{file}: that is Server.acquire's"


def test_requests_a_minute_are_counted_and_told_as_openai_tells_them(
    client: AppClient, source: MemorySource, clock: Clock
) -> None:
    secret, free = source.add("two", requests_per_minute=2), source.add("free")
    streaming = source.add("streams", requests_per_minute=7)
    pass_refresh(clock)
    first = client.post("/v1/chat/completions", CHAT, bearer(secret))
    assert first.status == 200
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert first.headers["x-ratelimit-reset-requests"] == "1m0s"
    streamed = {**CHAT, "stream": True}
    other = client.post("/v1/chat/completions", streamed, bearer(streaming))
    assert other.headers["content-type"].startswith("text/event-stream")
    assert other.headers["x-ratelimit-remaining-requests"] == "6"
    clock.now += 1.5
    bad = client.post("/v1/chat/completions", {}, bearer(secret))
    assert bad.status == 400
    assert bad.headers["x-ratelimit-remaining-requests"] == "0", "an error's answer tells it too"
    clock.now += 20
    refused = client.post("/v1/chat/completions", CHAT, bearer(secret))
    assert refused.status == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.json()["error"]["message"].startswith("Rate limit reached for this API key: 2 ")
    assert refused.headers["retry-after"] == "39"  # 38.5, never too early
    assert refused.headers["x-ratelimit-reset-requests"] == "40s"
    assert "x-should-retry" not in refused.headers
    assert set(client.post("/generate", {"prompts": ["x"]}, bearer(secret)).json()) == {"detail"}
    # Others are not held up, and are told of no limit.
    other = client.post("/v1/chat/completions", CHAT, bearer(free))
    assert other.status == 200
    assert not any(name.startswith("x-ratelimit") for name in other.headers)
    clock.now += 38.5
    assert client.post("/v1/chat/completions", CHAT, bearer(secret)).status == 200


def test_wrong_keys_and_open_routes_take_nothing_of_a_limit(
    client: AppClient, source: MemorySource, clock: Clock
) -> None:
    secret = source.add("one", requests_per_minute=1)
    pass_refresh(clock)
    for _ in range(5):
        assert client.get("/v1/models", bearer(secret[:-1])).status == 401
        assert client.get("/livez", bearer(secret)).status == 200
        assert client.call("OPTIONS", "/v1/models", b"", bearer(secret)).status == 204
    assert client.get("/v1/models", bearer(secret)).status == 200
    assert client.get("/v1/models", bearer(secret)).status == 429


def test_requests_at_one_time_are_those_whose_answer_is_not_complete(
    client: AppClient, service: FakeService, source: MemorySource, clock: Clock
) -> None:
    secret = source.add("one", concurrent=1)
    pass_refresh(clock)
    body = b'{"messages": [{"role": "user", "content": "x"}], "stream": true}'

    async def main() -> None:
        service.hold_at = 2  # the stream has begun, and goes on
        gone = asyncio.Event()
        send = client.request
        running = asyncio.create_task(
            send("POST", "/v1/chat/completions", body, bearer(secret), hang_up=gone)
        )
        await until(lambda: bool(service.generations))
        refused = await send("GET", "/v1/models", b"", bearer(secret))
        assert refused.status == 429
        assert refused.headers["x-ratelimit-limit-concurrent"] == "1"
        assert refused.headers["x-ratelimit-remaining-concurrent"] == "0"
        assert refused.headers["retry-after"] == "1"
        gone.set()  # the client hangs up in the middle
        await running
        assert (await send("GET", "/v1/models", b"", bearer(secret))).status == 200
        assert (await send("POST", "/v1/completions", b"{", bearer(secret))).status == 400
        assert (await send("GET", "/v1/models", b"", bearer(secret))).status == 200

    client.loop.run_until_complete(main())


def test_limits_that_change_keep_what_was_used(
    client: AppClient, source: MemorySource, clock: Clock
) -> None:
    secret = source.add("two", requests_per_minute=2)
    pass_refresh(clock)
    assert client.get("/v1/models", bearer(secret)).status == 200
    source.change("two", requests_per_minute=1)
    pass_refresh(clock)
    assert client.get("/v1/models", bearer(secret)).status == 429
    source.change("two", requests_per_minute=None)
    pass_refresh(clock)
    assert client.get("/v1/models", bearer(secret)).status == 200


def test_openais_sdk_reads_the_limits(service: FakeService, source: MemorySource) -> None:
    secret, clock = source.add("one", requests_per_minute=1), Clock()
    with LiveServer(service, ServerSettings(port=0), keys_of(source, clock)) as live:
        sdk = openai.OpenAI(base_url=f"{live.url}/v1", api_key=secret, max_retries=0)
        raw = sdk.models.with_raw_response.list()
        assert raw.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError) as caught:
            sdk.models.list()
        assert caught.value.code == "rate_limit_exceeded"
        assert caught.value.response.headers["retry-after"] == "60"
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"{live.url}/v1", api_key="wrong", max_retries=0).models.list()


@pytest.mark.parametrize(
    ("target", "opens"),
    [
        ("/v1/models?authorization=Bearer%20{}", True),
        ("/v1/models?authorization=Bearer+{}", True),
        ("/v1/models?a=b&authorization={}", True),
        ("/v1/models?authorization=Bearer%20wrong", False),
        ("/v1/models?authKey={}", False),
        ("/v1/models?xauthorization={}", False),
        ("/metrics?authorization={}", False),
        ("/status?authKey={}", True),
        ("/compat/node/status?authKey={}", True),
        ("/chat/ask?question=x&authKey={}", True),
        ("/models?authKey={}", True),
        ("/status?authorization={}", False),
    ],
)
def test_a_key_in_the_query_opens_only_what_the_contract_lists(
    client: AppClient, source: MemorySource, clock: Clock, target: str, opens: bool
) -> None:
    secret = source.add("user")
    pass_refresh(clock)
    status = client.get(target.format(secret)).status
    assert status in ((200, 404) if opens else (401,))
    path = target.partition("?")[0]
    query = target.partition("?")[2].format(secret)
    assert client.post(f"{path}?{query}", CHAT).status == 401, "a POST has headers"


def test_no_key_of_a_query_is_logged(
    client: AppClient, source: MemorySource, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    secret = source.add("user")
    pass_refresh(clock)
    with caplog.at_level(logging.DEBUG):
        client.get(f"/v1/models?authorization={secret}")
        client.get(f"/status?authKey={secret}")
    assert len(caplog.records) >= 2
    for record in caplog.records:
        assert secret not in f"{record.getMessage()} {record.__dict__}"


def test_last_use_is_written_in_batches_and_at_the_end(
    service: FakeService, source: MemorySource, clock: Clock
) -> None:
    first, second = source.add("first"), source.add("second")
    keys = keys_of(source, clock)
    with AppClient(service, keys=keys) as client:
        for _ in range(50):
            client.get("/v1/models", bearer(first))
        clock.now += 1
        client.get("/v1/models", bearer(second))
        assert source.uses == [], "no write per request"
        client.loop.run_until_complete(keys.flush())
        assert source.uses == [{"id-first": WALL, "id-second": WALL + 1}]
        client.loop.run_until_complete(keys.flush())
        assert len(source.uses) == 1, "nothing new, nothing written"
        clock.now += 5
        client.get("/v1/models", bearer(first))
        client.loop.run_until_complete(keys.close())
        assert source.uses[1:] == [{"id-first": WALL + 6}]
        assert source.closed
    assert FLUSH_SECONDS == 30.0, "as docs/keys.md and `berth keys list --help` say"


def test_the_first_use_starts_the_time_to_the_next_write(
    service: FakeService, source: MemorySource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.01)
    secret = source.add("first")
    keys = keys_of(source, clock)
    with AppClient(service, keys=keys) as client:
        client.get("/v1/models", bearer(secret))

        client.loop.run_until_complete(until(lambda: bool(source.uses)))
        client.loop.run_until_complete(keys.close())
    assert source.uses == [{"id-first": WALL}]


def test_a_use_that_cannot_be_written_is_written_with_the_next(
    service: FakeService, source: MemorySource, clock: Clock
) -> None:
    secret, keys = source.add("first"), keys_of(source, clock)
    with AppClient(service, keys=keys) as client:
        client.get("/v1/models", bearer(secret))
        source.broken = True
        client.loop.run_until_complete(keys.flush())
        assert source.uses == []
        source.broken = False
        client.loop.run_until_complete(keys.flush())
        assert source.uses == [{"id-first": WALL}]


def test_many_requests_at_once_read_the_database_once(
    client: AppClient, source: MemorySource, clock: Clock
) -> None:
    secret = source.add("user")
    pass_refresh(clock)
    before = source.reads

    async def main() -> list[int]:
        calls = [client.request("GET", "/v1/models", b"", bearer(secret)) for _ in range(20)]
        return [reply.status for reply in await asyncio.gather(*calls)]

    assert client.loop.run_until_complete(main()) == [200] * 20
    for _ in range(20):
        client.get("/v1/models", bearer(secret))
    assert source.reads == before + 1


def test_probes_read_no_database(client: AppClient, source: MemorySource, clock: Clock) -> None:
    source.add("user")
    before = source.reads
    for path in sorted(OPEN_PATHS):
        clock.now += 2 * OUTAGE_SECONDS
        assert client.get(path).status == 200
    assert source.reads == before


def test_an_outage_of_the_database_is_no_outage_of_the_server_for_five_minutes(
    client: AppClient, source: MemorySource, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    secret = source.add("user")
    pass_refresh(clock)
    assert client.get("/v1/models", bearer(secret)).status == 200
    source.broken = True
    for _ in range(10):
        clock.now += OUTAGE_SECONDS / 10
        assert client.get("/v1/models", bearer(secret)).status == 200
        assert client.get("/v1/models", bearer("wrong")).status == 401
    assert len([one for one in caplog.records if "keys cannot be read" in one.message]) == 1
    clock.now += 1
    for key in (secret, "wrong"):
        reply = client.get("/v1/models", bearer(key))
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    assert client.get("/livez").status == 200
    source.broken = False
    clock.now += REFRESH_SECONDS
    assert client.get("/v1/models", bearer(secret)).status == 200
    assert OUTAGE_SECONDS == 300.0, "as docs/keys.md says"


def test_an_outage_never_shuts_the_owner_out_and_never_opens_a_server(
    service: FakeService, source: MemorySource, clock: Clock
) -> None:
    with AppClient(service, keys=keys_of(source, clock, "sesame")) as client:
        source.broken = True
        clock.now += OUTAGE_SECONDS + 1
        assert client.get("/v1/models", bearer("sesame")).status == 200
        assert client.get("/v1/models", bearer("wrong")).status == 503
    source.broken = False
    with AppClient(service, keys=keys_of(source, clock)) as client:
        assert client.get("/v1/models").status == 200, "there are no keys"
        source.broken = True
        clock.now += OUTAGE_SECONDS
        assert client.get("/v1/models").status == 200
        clock.now += 1
        assert client.get("/v1/models").status == 503, "there may be some by now"


def test_a_fault_of_ours_in_reading_is_logged_and_opens_nothing(
    client: AppClient, source: MemorySource, clock: Clock, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    secret = source.add("user")
    pass_refresh(clock)
    assert client.get("/v1/models", bearer(secret)).status == 200

    def broken(_: object) -> Snapshot:
        raise KeyError(secret)

    monkeypatch.setattr(source, "read", broken)
    pass_refresh(clock)
    assert client.get("/v1/models", bearer("wrong")).status == 500
    assert "request failed" in caplog.text
    assert secret not in caplog.text
    clock.now += OUTAGE_SECONDS + 1
    assert client.get("/v1/models", bearer(secret)).status == 500
    assert client.get("/v1/models", bearer(secret)).status == 503


def test_a_database_that_hangs_holds_up_one_round_of_requests(
    client: AppClient, source: MemorySource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WAIT_SECONDS", 0.01)
    secret = source.add("user")
    pass_refresh(clock)
    assert client.get("/v1/models", bearer(secret)).status == 200
    source.hold = threading.Event()
    pass_refresh(clock)
    before = source.reads
    for _ in range(3):
        assert client.get("/v1/models", bearer(secret)).status == 200
        pass_refresh(clock)
    assert source.reads == before + 1, "the reading that hangs is the only one"
    clock.now += OUTAGE_SECONDS
    assert client.get("/v1/models", bearer(secret)).status == 503
    source.hold.set()
    source.hold = None

    async def answered() -> None:
        async with asyncio.timeout(20):
            while (await client.request("GET", "/v1/models", b"", bearer(secret))).status != 200:
                pass_refresh(clock)
                await asyncio.sleep(0.005)

    client.loop.run_until_complete(answered())


# A real database file, as `berth serve` and `berth keys` share it.


def source_and_store(tmp_path: Path) -> tuple[KeySource, Place]:
    place = Place(file=tmp_path / "state" / "berth.db")
    return KeySource(place), place


def made(place: Place, name: str) -> str:
    store = KeyStore(place)
    _, secret = store.create(NewKey(name=name), WALL)
    store.close()
    return secret


def test_a_database_is_found_when_it_is_made_and_missed_when_it_is_gone(
    service: FakeService, tmp_path: Path, clock: Clock
) -> None:
    source, place = source_and_store(tmp_path)
    keys = Keys(source=source, clock=clock, wall=clock.wall)
    keys.load()
    assert not keys.asked
    with AppClient(service, keys=keys) as client:
        assert client.get("/v1/models").status == 200
        first = made(place, "first")
        pass_refresh(clock)
        assert client.get("/v1/models").status == 401
        assert client.get("/v1/models", bearer(first)).status == 200
        kept = place.file
        assert kept is not None
        for file in kept.parent.iterdir():
            file.rename(tmp_path / file.name)
        pass_refresh(clock)
        assert client.get("/v1/models").status == 401, "a server does not open by a lost file"
        assert client.get("/v1/models", bearer(first)).status == 200, "as in any outage"
        second = made(place, "second")  # another database in its place
        pass_refresh(clock)
        assert client.get("/v1/models", bearer(first)).status == 401
        assert client.get("/v1/models", bearer(second)).status == 200
        client.loop.run_until_complete(keys.close())
    store = KeyStore(place)
    assert [key.last_used_at for key in store.list()] == [int(clock.wall())]
    store.close()


def test_a_server_without_a_database_imports_none(tmp_path: Path) -> None:
    code = (
        "import sys, berth.cli.serve\n"
        "from berth.server.keys import Keys\n"
        "from berth.store.source import KeySource\n"
        "from berth.store.place import place_of\n"
        "from pathlib import Path\n"
        f"keys = Keys(source=KeySource(place_of(Path({str(tmp_path / 'none')!r}), None, {{}})))\n"
        "keys.load()\n"
        "assert not keys.asked\n"
        "heavy = {'sqlalchemy', 'alembic', 'psycopg', 'sqlite3'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
