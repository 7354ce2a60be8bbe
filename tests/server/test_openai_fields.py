"""Each field of OpenAI's and vLLM's requests is done, left aside by name, or refused by name.

The table of docs/http.md says which. Here it is walked: it can neither lie nor forget.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from app_client import AppClient
from fake_service import FakeService
from openai.types import completion_create_params as completion_params
from openai.types.chat import completion_create_params as chat_params

from berth.server.dialects.openai.bodies import ChatCompletionRequest, CompletionRequest
from berth.server.dialects.openai.fields import REFUSED, REFUSED_IN_CHATS

PAGE = Path(__file__).parents[2] / "docs" / "http.md"
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "Hello"}]},
    TEXT: {"prompt": "Hello"},
}
HEADER = "berth-ignored-parameters"


def _table() -> dict[str, str]:
    """Field to "done", "ignored" or "refused"."""
    text = PAGE.read_text().split("### Every field")[1].split("\n## ")[0]
    found = {}
    for names, what in re.findall(r"^\| (`[^|]*) \| (\w+)", text, re.MULTILINE):
        found |= dict.fromkeys(re.findall(r"`(\w+)`", names), what)
    return found


TABLE = _table()


def _official(module: Any, name: str) -> set[str]:
    kinds = get_args(module.CompletionCreateParams)
    return {field for kind in kinds for field in kind.__annotations__} | {"stream"}


def test_the_table_has_every_field_of_openai() -> None:
    wanted = _official(chat_params, "chat") | _official(completion_params, "text")
    assert wanted <= TABLE.keys(), sorted(wanted - TABLE.keys())


def test_the_table_is_what_the_code_does() -> None:
    done = {name for name, what in TABLE.items() if what == "done"}
    structs = {*ChatCompletionRequest.__struct_fields__, *CompletionRequest.__struct_fields__}
    refused = {name for name, what in TABLE.items() if what == "refused"}
    assert done | refused >= structs
    assert refused == (REFUSED.keys() | REFUSED_IN_CHATS.keys() | {"suffix"}) - {"echo"}


# A value that asks for something, for fields whose neutral value is not null.
ASKING: dict[str, Any] = {
    "skip_special_tokens": False,
    "length_penalty": 2.0,
    "modalities": ["text", "audio"],
    "guided_choice": ["a", "b"],
    "mirostat": 2,
    "typical_p": 0.5,
    "repeat_penalty": 1.3,
    "prompt_logprobs": 1,
}


@pytest.mark.parametrize("name", [name for name, what in TABLE.items() if what == "refused"])
def test_a_refused_field_is_refused_by_name_and_taken_where_it_asks_nothing(
    client: AppClient, name: str
) -> None:
    path = TEXT if name == "suffix" else CHAT
    reply = client.post(path, BODIES[path] | {name: ASKING.get(name, True)})
    assert reply.status == 400, name
    error = reply.json()["error"]
    assert error["param"] == name
    assert name in error["message"]
    for nothing in (None, "", *(REFUSED | REFUSED_IN_CHATS).get(name, REFUSED["audio"]).neutral):
        reply = client.post(path, BODIES[path] | {name: nothing})
        assert reply.status == 200, (name, nothing, reply.json())


@pytest.mark.parametrize("name", [name for name, what in TABLE.items() if what == "ignored"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_ignored_field_is_named_in_the_answer(
    client: AppClient, name: str, stream: bool
) -> None:
    reply = client.post(CHAT, BODIES[CHAT] | {name: "x", "stream": stream})
    assert reply.status == 200
    assert reply.headers[HEADER] == name


def test_a_field_that_nobody_knows_is_named_too(client: AppClient) -> None:
    reply = client.post(TEXT, BODIES[TEXT] | {"temprature": 0.1, "user": "me"})
    assert reply.headers[HEADER] == "temprature, user"
    assert HEADER not in client.post(TEXT, BODIES[TEXT]).headers


@pytest.mark.parametrize(
    ("field", "value", "option", "meant"),
    [
        ("max_tokens", 10.0, "max_tokens", 10),
        ("max_tokens", "12", "max_tokens", 12),
        ("max_new_tokens", 3, "max_tokens", 3),
        ("temperature", "0.1", "temperature", 0.1),
        ("top_k", 40.0, "top_k", 40),
        ("seed", "1000", "seed", 1000),
        ("stop", "", "stop", ()),
        ("stop", "null", "stop", ("null",)),
        ("ignore_eos", "true", "ignore_eos", True),
        ("logit_bias", {"7": "1.5"}, "logit_bias", {7: 1.5}),
        ("include_stop_str_in_output", True, "include_stop_str_in_output", True),
        ("allowed_token_ids", [5, 6], "allowed_token_ids", (5, 6)),
        ("bad_words", ["no"], "bad_words", ("no",)),
    ],
)
@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_numbers_and_words_are_taken_as_pydantic_takes_them(
    client: AppClient, service: FakeService, path: str, field: str, value: Any, option: str,
    meant: Any,
) -> None:  # fmt: skip
    assert client.post(path, BODIES[path] | {field: value}).status == 200
    assert getattr(service.generations[-1].options, option) == meant


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_tokens", 10.5), ("max_tokens", "many"), ("max_tokens", True), ("temperature", "hot"),
     ("stream", "maybe"), ("seed", "1.5"), ("top_k", [])],
)  # fmt: skip
def test_what_is_no_such_number_is_still_refused(client: AppClient, field: str, value: Any) -> None:
    reply = client.post(TEXT, BODIES[TEXT] | {field: value})
    assert reply.status == 400
    assert reply.json()["error"]["param"] == field


def test_the_template_gets_its_variables(client: AppClient, service: FakeService) -> None:
    body = BODIES[CHAT] | {
        "chat_template_kwargs": {"enable_thinking": False},
        "reasoning_effort": "low",
    }
    reply = client.post(CHAT, body)
    assert service.written is not None
    assert service.written.variables == {"enable_thinking": False, "reasoning_effort": "low"}
    assert reply.headers[HEADER] == "reasoning_effort", "this template does not look at it"
    body = BODIES[CHAT] | {"chat_template_kwargs": {"messages": []}}
    reply = client.post(CHAT, body)
    assert reply.status == 400
    assert reply.json()["error"]["param"] == "chat_template_kwargs.messages"


def test_tools_are_left_aside_where_none_may_be_called(client: AppClient) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    reply = client.post(CHAT, BODIES[CHAT] | {"tools": tools, "tool_choice": "none"})
    assert reply.status == 200
    assert reply.headers[HEADER] == "tools"
    for choice in ({}, {"tool_choice": "auto"}, {"tool_choice": "required"}):
        assert client.post(CHAT, BODIES[CHAT] | {"tools": tools} | choice).status == 400
    reply = client.post(CHAT, BODIES[CHAT] | {"tool_choice": "required"})
    assert reply.json()["error"]["param"] == "tool_choice"


def test_a_prompt_is_cut_to_its_last_tokens(client: AppClient, service: FakeService) -> None:
    reply = client.post(TEXT, {"prompt": [1, 2, 3, 4], "truncate_prompt_tokens": 2})
    assert reply.json()["usage"]["prompt_tokens"] == 2


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([{"role": "pirate", "content": "x"}], "messages[0].role must be one of"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
         "messages[0].content[0]: images are not supported"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "sounds are not supported"),
    ],
)  # fmt: skip
def test_a_message_that_cannot_be_read_is_named(
    client: AppClient, messages: list[Any], says: str
) -> None:
    reply = client.post(CHAT, {"messages": messages})
    assert reply.status == 400
    assert says in reply.json()["error"]["message"]
