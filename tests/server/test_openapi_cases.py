"""What the OpenAPI document allows is not refused, unless for a reason that it cannot state.

A bounded and repeatable share of what schemathesis draws: no address, no random seed, no network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from api_document import Document
from app_client import AppClient
from fake_service import FakeService
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from schema_cases import values

from berth.serving.prompt import Prompt
from berth.serving.request import ChatOptions, Message

POSTS = ("/generate", "/chat", "/v1/chat/completions", "/v1/completions")
# A schema compares no field with another, counts no tokens and knows no last message.
UNSTATABLE = re.compile(
    r"maximum context length|max_length is \d+ and counts the prompt|min_tokens is \d+"
    r"|best_of other than n|asks for \d+ answers|num_return_sequences is \d+"
    r"|continue_final_message goes on with an assistant's message"
)


class AnyDialog(FakeService):
    """A model whose template takes messages of any role in any order."""

    def render_chat(
        self, messages: Sequence[Message], options: ChatOptions | None = None
    ) -> Prompt:
        return self.encode("\n".join(message.text for message in messages))


CLIENT = AppClient(AnyDialog())
DOCUMENT = Document(CLIENT.app.openapi())
BODIES = {path: values(DOCUMENT, DOCUMENT.request_schema(path)) for path in POSTS}
repeatable = settings(
    max_examples=60, derandomize=True, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    CLIENT.loop.close()


def is_valid(path: str, body: Any) -> bool:
    return bool(DOCUMENT.validator(DOCUMENT.request_schema(path)).is_valid(body))


@pytest.mark.parametrize("path", POSTS)
@repeatable
@given(data=st.data())
def test_a_request_that_the_schema_allows_is_answered(path: str, data: st.DataObject) -> None:
    body = data.draw(BODIES[path])
    assume(is_valid(path, body))
    reply = CLIENT.post(path, json.dumps(body).encode())
    assert reply.status == 200 or UNSTATABLE.search(reply.body.decode()), (body, reply.body)


_WRONG = st.sampled_from(
    [None, True, -1, 0, 1.5, 10**400, -(2**70), "", "x", "\u0000", [], [[]], [None], {}, {"a": 1}]
)


@pytest.mark.parametrize("path", POSTS)
@repeatable
@given(data=st.data())
def test_whatever_else_is_sent_gets_a_documented_answer(path: str, data: st.DataObject) -> None:
    body = data.draw(BODIES[path])
    fields = _fields(body)
    holder, key = data.draw(st.sampled_from(fields))
    wrong = data.draw(_WRONG)
    if wrong is None and isinstance(holder, dict):
        del holder[key]
    else:
        holder[key] = wrong
    assume(not is_valid(path, body))
    reply = CLIENT.post(path, json.dumps(body).encode())  # which holds it to the document
    assert reply.status < 500, (body, reply.body)


def _fields(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a body, as a container and a key."""
    keys = value if isinstance(value, dict) else range(len(value)) if type(value) is list else ()
    places = [(value, key) for key in keys]
    return places + [place for key in keys for place in _fields(value[key])]
