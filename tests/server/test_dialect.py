"""A dialect is one object: what it adds to a server, no other dialect notices."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Iterator
from typing import Annotated

import msgspec
import pytest
from app_client import AppClient
from fake_service import FakeService
from fastapi import Request
from starlette.responses import Response

from berth.server import dialects
from berth.server.app import create_app
from berth.server.body import decode
from berth.server.context import Server, context_of
from berth.server.dialect import LINES, TEXT, Dialect, ErrorAnswer
from berth.server.dialects import DIALECTS
from berth.server.errors import Row, message_of
from berth.server.generate import answers, open_stream, submit_all
from berth.server.reply import encode, json_response
from berth.server.settings import ServerSettings
from berth.server.shared_paths import SharedPaths, SharedShape
from berth.serving.models import Model, Models
from berth.serving.request import Options, Piece


class Fault(msgspec.Struct):
    """How the dialects of these tests tell an error."""

    fault: str


class GenerateRequest(msgspec.Struct):
    """Has its name in common with KAITO's."""

    prompt: str
    stream: bool = False


class GenerateResponse(msgspec.Struct):
    """Too."""

    text: Annotated[str, msgspec.Meta(description="what follows")]


class Line(msgspec.Struct):
    """A line of a stream."""

    text: str
    done: bool


class _Lines:
    def piece(self, index: int, piece: Piece) -> bytes:
        return LINES.frame(encode(Line(piece.text, piece.finish_reason is not None)))

    def end(self) -> bytes:
        return b""

    def error(self, error: Exception) -> bytes:
        return LINES.frame(encode(Fault(message_of(error))))


class _Plain(_Lines):
    def piece(self, index: int, piece: Piece) -> bytes:
        return TEXT.frame(piece.text.encode())


def _answered(writer: type[_Lines]):  # type: ignore[no-untyped-def]
    async def answer(server: Server, request: Request, body: bytes) -> Response:
        call = decode(msgspec.json.Decoder(GenerateRequest), body)
        service = await server.acquire(request)
        prompts = [(service.encode(call.prompt), Options())]
        generations = submit_all(service, prompts, context_of(request.scope).request_id)
        if call.stream:
            return await open_stream(server, request, generations, writer())
        (finished,) = await answers(server, request, generations)
        return json_response(GenerateResponse(finished.text))

    return answer


def _shape(key: str, writer: type[_Lines]) -> SharedShape:
    return SharedShape(
        key=key, shown=f'{{"{key}": "…"}}, as {writer.__name__} has it', answer=_answered(writer),
        request=GenerateRequest, response=GenerateResponse, example={"prompt": "x"},
        stream=[Line], events="Lines.",
    )  # fmt: skip


def _line_error(error: BaseException, row: Row) -> ErrorAnswer:
    return ErrorAnswer(row.status, {"fault": message_of(error)}, {"x-fault": "yes"})


def _text_error(error: BaseException, row: Row) -> ErrorAnswer:
    return ErrorAnswer(row.status, b"fault: " + message_of(error).encode())


NDJSON = Dialect(
    name="lines",
    mount=lambda mount, server: (
        mount.share("/generate", "Or else:", _shape("prompt", _Lines)),
        mount.share("/v1/lines", "Lines.", _shape("prompt", _Lines)),
    )[0],
    error=_line_error,
    error_shapes={None: Fault},
    framing=LINES,
)
RAW = Dialect(
    name="raw",
    mount=lambda mount, server: mount.share("/raw", "Text.", _shape("prompt", _Plain)),
    error=_text_error,
    error_shapes={None: Fault},
    framing=TEXT,
)


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def talk(service: FakeService) -> Iterator[AppClient]:
    app = create_app(Models([Model(service)]), ServerSettings(), dialects=(*DIALECTS, NDJSON, RAW))
    with AppClient(service, app=app) as client:
        client.document.page["paths"].pop("/raw")  # its errors are text
        yield client


def test_a_stream_is_framed_and_named_as_its_dialect_has_it(talk: AppClient) -> None:
    lines = talk.post("/v1/lines", {"prompt": "x", "stream": True})
    assert lines.headers["content-type"] == "application/x-ndjson; charset=utf-8"
    parsed = [json.loads(line) for line in lines.body.splitlines()]
    assert [line["text"] for line in parsed] == ["Paris", " is", " its", " capital."]
    assert [line["done"] for line in parsed] == [False, False, False, True]
    raw = talk.post("/raw", {"prompt": "x", "stream": True})
    assert raw.headers["content-type"] == "text/plain; charset=utf-8"
    assert raw.body == b"Paris is its capital."


def test_an_error_is_written_by_the_dialect_of_the_route_not_of_the_prefix(
    talk: AppClient, service: FakeService
) -> None:
    below_openai = talk.post("/v1/lines", b"no json")
    assert below_openai.status == 400
    assert below_openai.headers["x-fault"] == "yes"
    assert set(below_openai.json()) == {"fault"}
    service.fail_at = 1
    assert set(talk.post("/v1/lines", {"prompt": "x"}).json()) == {"fault"}
    assert set(talk.post("/v1/completions", {"prompt": "x"}).json()) == {"error"}
    assert set(talk.post("/chat", {"prompt": "x"}).json()) == {"detail"}
    raw = talk.post("/raw", {"prompt": "x"})
    assert (raw.status, raw.body[:7]) == (500, b"fault: ")
    assert raw.headers["content-type"].startswith("text/plain")


def test_what_is_refused_before_the_route_runs_is_in_its_dialect_too() -> None:
    service = FakeService()
    settings = ServerSettings(api_keys=("k",))
    app = create_app(Models([Model(service)]), settings, dialects=(*DIALECTS, NDJSON))
    with AppClient(service, app=app) as client:
        assert set(client.post("/v1/lines", {"prompt": "x"}).json()) == {"fault"}
        assert set(client.post("/v1/completions", {"prompt": "x"}).json()) == {"error"}
        assert set(client.get("/v1/berth/fit").json()) == {"error"}  # no dialect's: the prefix's
        assert set(client.get("/metrics").json()) == {"detail"}


def test_paths_without_a_route_are_explained_by_their_prefix(talk: AppClient) -> None:
    assert set(talk.get("/v1/nothing").json()) == {"error"}
    assert set(talk.get("/v1x/nothing").json()) == {"detail"}
    assert set(talk.get("/nothing").json()) == {"detail"}
    assert set(talk.call("DELETE", "/v1/lines", b"").json()) == {"fault"}  # the path is a route's


def test_one_path_serves_several_dialects_by_the_key_of_the_body(talk: AppClient) -> None:
    kaito = talk.post("/generate", {"prompts": ["x"]})
    assert kaito.json() == {"results": [{"prompt": "x", "response": "Paris is its capital."}]}
    lines = talk.post("/generate", {"prompt": "x"})
    assert lines.json() == {"text": "Paris is its capital."}
    streamed = talk.post("/generate", {"prompt": "x", "stream": True})
    assert streamed.headers["content-type"].startswith("application/x-ndjson")
    assert set(talk.post("/generate", {"prompt": 1}).json()) == {"fault"}
    assert talk.post("/generate", {"prompts": 1}).status == 422


@pytest.mark.parametrize(
    ("body", "kind", "ending"),
    [
        ({}, "missing", "one of them is required."),
        ({"stream": True}, "missing", "one of them is required."),
        ({"prompt": "x", "prompts": ["x"]}, "value_error", "not both."),
    ],
)
def test_none_or_two_of_the_keys_is_422_that_names_the_shapes(
    talk: AppClient, body: dict[str, object], kind: str, ending: str
) -> None:
    reply = talk.post("/generate", body)
    (fault,) = reply.json()["detail"]
    assert (reply.status, fault["type"], fault["loc"]) == (422, kind, ["body"])
    assert '{"prompts": ["…"]}' in fault["msg"]
    assert '{"prompt": "…"}' in fault["msg"]
    assert fault["msg"].endswith(ending)


def test_two_shapes_of_a_path_cannot_have_the_same_key() -> None:
    table = SharedPaths()
    table.add("/x", "", NDJSON, _shape("prompt", _Lines))
    with pytest.raises(ValueError, match="two shapes of /x have the key prompt"):
        table.add("/x", "", RAW, _shape("prompt", _Plain))


def test_structs_of_one_name_have_two_names_in_the_document(talk: AppClient) -> None:
    page = talk.get("/openapi.json").json()
    schemas = page["components"]["schemas"]
    named = {name for name in schemas if name.endswith("GenerateRequest")}
    assert len(named) == 2
    assert "GenerateRequest" not in named
    shapes = page["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]
    refs = {way["$ref"].removeprefix("#/components/schemas/") for way in shapes["schema"]["oneOf"]}
    assert refs == named
    assert {frozenset(schemas[name]["required"]) for name in named} == {
        frozenset({"prompt"}), frozenset({"prompts"}),
    }  # fmt: skip
    answer = page["paths"]["/generate"]["post"]["responses"]["200"]["content"]
    assert set(answer) == {"application/json", "text/event-stream", "application/x-ndjson"}
    assert answer["application/x-ndjson"]["schema"]["$ref"].endswith("/Line")


def test_every_reference_of_such_a_document_leads_somewhere(talk: AppClient) -> None:
    page = talk.get("/openapi.json").json()
    text = json.dumps(page["paths"]) + json.dumps(page["components"])
    refs = {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert refs <= set(page["components"]["schemas"])


def test_every_package_of_a_dialect_is_served() -> None:
    packages = {entry.name for entry in pkgutil.iter_modules(dialects.__path__)}
    assert {dialect.name for dialect in DIALECTS} == packages


def test_a_dialect_can_be_left_out() -> None:
    service = FakeService()
    app = create_app(Models([Model(service)]), ServerSettings(), dialects=(RAW,))
    with AppClient(service, app=app) as client:
        client.document.page["paths"].clear()
        assert client.post("/raw", {"prompt": "x"}).status == 200
        assert client.post("/v1/completions", {"prompt": "x"}).status == 404
        assert client.post("/chat", {"prompt": "x"}).status == 404
        assert client.get("/healthz").status == 200  # a health route is no dialect's
