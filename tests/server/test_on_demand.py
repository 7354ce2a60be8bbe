"""A call names a model, waits until it is loaded, and keeps it until the call is over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from app_client import AppClient
from fake_service import FakeService

from berth.server.app import create_app
from berth.server.settings import ServerSettings
from berth.serving.models import Model
from berth.serving.on_demand import OnDemandModels
from berth.serving.turns import Candidate, Limits


class Loaded(FakeService):
    """A model that is loaded as soon as the test lets it be."""

    def __init__(self, name: str) -> None:
        super().__init__(lambda _: f"I am {name}.")
        self.model_id = name
        self.unloaded = 0
        self.may_load = asyncio.Event()
        self.may_load.set()

    async def settled(self) -> None:
        await self.may_load.wait()

    async def unload(self) -> None:
        assert all(each.finished or each.cancelled for each in self.generations)
        self.unloaded += 1


@pytest.fixture
def fakes() -> list[Loaded]:
    return [Loaded("one"), Loaded("two")]


@pytest.fixture
def client(fakes: list[Loaded]) -> Iterator[AppClient]:
    """Two models, of which one may be loaded."""
    models = OnDemandModels(
        [Model(fake) for fake in fakes],
        [Candidate(name=fake.model_id) for fake in fakes],
        Limits(max_loaded=1, turn_seconds=0, quiet_seconds=0, max_waiting=2),
    )
    app = create_app(models, ServerSettings(request_timeout_seconds=20))
    with AppClient(fakes[0], app=app) as client:
        yield client


def chat(model: str, **more: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "Who are you?"}], **more}


def body(model: str, **more: object) -> bytes:
    return json.dumps(chat(model, **more)).encode()


async def turns_of_the_loop() -> None:
    """Let happen what is going to: nothing here waits for a clock."""
    for _ in range(50):
        await asyncio.sleep(0)


PATH = "/v1/chat/completions"


def test_each_call_is_answered_by_the_model_that_it_names(
    client: AppClient, fakes: list[Loaded]
) -> None:
    for name in ("one", "two", "one", "one"):
        reply = client.post(PATH, chat(name))
        assert reply.status == 200
        assert reply.json()["choices"][0]["message"]["content"] == f"I am {name}."
    assert [fake.unloaded for fake in fakes] == [1, 1]
    assert client.post(PATH, chat("three")).status == 404
    generated = client.post("/generate", {"prompts": ["Who are you?"]})  # names none
    assert generated.status == 200
    listed = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert listed == ["one", "two"]
    assert client.get("/readyz").status == 200


def test_a_model_stays_until_the_last_byte_of_its_stream(
    client: AppClient, fakes: list[Loaded]
) -> None:
    one, two = fakes
    one.hold_at = 2

    async def main() -> None:
        stream = asyncio.create_task(client.request("POST", PATH, body("one", stream=True)))
        await turns_of_the_loop()
        assert one.generations
        other = asyncio.create_task(client.request("POST", PATH, body("two")))
        await turns_of_the_loop()
        assert one.unloaded == 0
        one.go.set()
        assert (await stream).events()[-1] == "[DONE]"
        assert (await other).status == 200
        assert one.unloaded == 1
        assert two.unloaded == 0

    client.loop.run_until_complete(main())


def test_a_client_that_hangs_up_while_its_model_loads_is_forgotten(
    client: AppClient, fakes: list[Loaded]
) -> None:
    one, two = fakes
    one.may_load.clear()

    async def main() -> None:
        gone = asyncio.Event()
        call = asyncio.create_task(client.request("POST", PATH, body("two"), hang_up=gone))
        first = asyncio.create_task(client.request("POST", PATH, body("one")))
        two.may_load.clear()
        await turns_of_the_loop()
        gone.set()
        assert (await call).body == b""  # 499 in the log; nothing is sent
        assert two.generations == []
        two.may_load.set()
        one.may_load.set()
        assert (await first).status == 200

    client.loop.run_until_complete(main())


def test_more_calls_than_may_wait_get_429(client: AppClient, fakes: list[Loaded]) -> None:
    fakes[0].may_load.clear()

    async def main() -> None:
        waiting = [asyncio.create_task(client.request("POST", PATH, body("one"))) for _ in range(2)]
        await turns_of_the_loop()
        refused = await client.request("POST", PATH, body("two"))
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) >= 1
        fakes[0].may_load.set()
        assert [(await call).status for call in waiting] == [200, 200]

    client.loop.run_until_complete(main())
