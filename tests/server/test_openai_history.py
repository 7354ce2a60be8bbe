"""Tools in a chat's history: taken where the model's template writes them, else refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from berth.server.dialects.openai.parse import messages_of, read_chat
from berth.server.reply import encode
from berth.serving.request import Message, ToolCall
from server.api_document import Document
from server.app_client import AppClient
from server.fake_service import FakeService

CHAT = "/v1/chat/completions"
USER = {"role": "user", "content": "Hi"}


class WithTools(FakeService):
    """A model whose template writes calls, and takes what tools answer."""

    template_fields = frozenset({"tool_calls"})
    template_roles = frozenset({"system", "user", "assistant", "tool"})


def call(**changes: Any) -> dict[str, Any]:
    function = {"name": "weather", "arguments": '{"city": "Paris"}'}
    return {"id": "c1", "type": "function", "function": function} | changes


def asking(*calls: Any, role: str = "assistant", **more: Any) -> list[dict[str, Any]]:
    return [USER, {"role": role, "content": None, "tool_calls": [*calls], **more}, USER]


def test_a_history_of_calls_is_read_as_clients_send_it() -> None:
    result = {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "grey"}]}
    as_object = call(function={"name": "now", "arguments": {"zone": "é"}}, id=None)
    body = {"messages": [*asking(call(), as_object)[:2], result, {**USER, "name": "Ann"}]}
    request, _ = read_chat(encode(body))
    read = messages_of(request, frozenset({"tool_calls"}))
    assert read[1] == Message(
        "assistant",
        None,
        (ToolCall("weather", '{"city": "Paris"}', "c1"), ToolCall("now", '{"zone":"é"}')),
    )
    assert (read[2].text, read[2].tool_call_id, read[3].name) == ("grey", "c1", "Ann")


@pytest.mark.parametrize("arguments", ["", " \n", None])
def test_a_call_without_arguments_has_none(arguments: str | None) -> None:
    given = call(function={"name": "now", "arguments": arguments})
    request, _ = read_chat(encode({"messages": asking(given)}))
    assert messages_of(request, WithTools.template_fields)[1].tool_calls[0].arguments == "{}"


@pytest.mark.parametrize(
    ("calls", "field"),
    [
        ([{}], "messages[1].tool_calls[0]"),
        ([call(), "x"], "messages[1].tool_calls[1]"),
        ([call(function={"arguments": "{}"})], "messages[1].tool_calls[0]"),
        ([call(type="custom")], "messages[1].tool_calls[0].type"),
        *(
            ([call(function={"name": "f", "arguments": text})],
             "messages[1].tool_calls[0].function.arguments")
            for text in ("{", "[1]", "1", '{"a": NaN}', '{"a":' * 100_000, "9" * 5000)
        ),
    ],
)  # fmt: skip
def test_a_call_of_another_form_is_refused_by_its_place(calls: list[Any], field: str) -> None:
    with AppClient(WithTools()) as client:
        answer = client.post(CHAT, {"messages": asking(*calls)})
    assert answer.status == 400
    assert answer.json()["error"]["param"] == field


def test_only_an_assistant_calls_tools() -> None:
    with AppClient(WithTools()) as client:
        answer = client.post(CHAT, {"messages": asking(call(), role="user", content="x")})
    assert answer.status == 400
    assert answer.json()["error"]["param"] == "messages[1].tool_calls"


def test_a_model_without_a_form_for_calls_refuses_them_by_name() -> None:
    with AppClient(FakeService()) as client:
        answer = client.post(CHAT, {"messages": asking(call())})
    assert answer.status == 400
    error = answer.json()["error"]
    assert error["param"] == "messages[1].tool_calls"
    assert "its chat template does not write them" in error["message"]


def test_more_calls_than_the_context_has_tokens_are_not_read() -> None:
    with AppClient(WithTools()) as client:
        answer = client.post(CHAT, {"messages": asking(*[call()] * 4097)})
    assert answer.status == 400
    assert "4097 tool calls" in answer.json()["error"]["message"]


def test_a_name_that_the_template_does_not_write_is_told() -> None:
    service = FakeService()
    with AppClient(service) as client:
        answer = client.post(CHAT, {"messages": [{**USER, "name": "Ann"}]})
        assert answer.status == 200
        assert answer.headers["berth-ignored-parameters"] == "messages.name"
        service.template_fields = frozenset({"name"})
        answer = client.post(CHAT, {"messages": [{**USER, "name": "Ann"}]})
        assert "berth-ignored-parameters" not in answer.headers


def test_the_document_tells_whether_the_model_takes_calls() -> None:
    for service, taken in ((FakeService(), False), (WithTools(), True)):
        with AppClient(service) as client:
            document = Document(client.app.openapi())
        allows = document.validator(document.request_schema(CHAT)).is_valid
        assert allows({"messages": asking(call())}) is taken
        assert allows({"messages": [USER]})
        assert not allows({"messages": [{"role": "assistant", "content": None}]})
        assert not allows({"messages": asking(call(), role="user")})
        assert not allows({"messages": asking(call(type="custom"))})
