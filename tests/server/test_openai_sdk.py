"""The openai package, unchanged, against a real port."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from fake_service import LOADING, REPLY, FakeService
from live_server import LiveServer, wait_until
from openai.types.chat import ChatCompletionUserMessageParam
from prometheus_client.parser import text_string_to_metric_families

HELLO = [ChatCompletionUserMessageParam(role="user", content="Hello")]


@pytest.fixture
def sdk(live: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="anything", timeout=20) as sdk:
        yield sdk


def _made(live: LiveServer, count: int) -> None:
    """Check that so many chat calls were made; the last one is counted after its answer."""
    wait_until(lambda: _calls(live) >= count)
    assert _calls(live) == count


def _calls(live: LiveServer) -> float:
    families = text_string_to_metric_families(live.metrics.exposition().decode())
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "http_requests_total"
        and sample.labels["handler"] == "/v1/chat/completions"
    )


def test_models(sdk: openai.OpenAI) -> None:
    assert [model.id for model in sdk.models.list()] == ["pocket"]
    assert sdk.models.retrieve("pocket").owned_by == "berth"


def test_chat(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(model="pocket", messages=HELLO, seed=1, temperature=0)
    assert answer.choices[0].message.content == REPLY
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4
    assert answer._request_id


def test_a_chat_stream_with_usage(sdk: openai.OpenAI) -> None:
    chunks = list(
        sdk.chat.completions.create(
            model="pocket", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == REPLY
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + 4


def test_completions(sdk: openai.OpenAI) -> None:
    answer = sdk.completions.create(model="pocket", prompt=["a", "b"], max_tokens=2, logprobs=1)
    assert [choice.text for choice in answer.choices] == ["Paris is", "Paris is"]
    assert answer.choices[0].finish_reason == "length"
    streamed = sdk.completions.create(model="pocket", prompt="a", stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == REPLY


def test_an_unknown_model_is_not_found_at_the_first_try(
    sdk: openai.OpenAI, live: LiveServer
) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.chat.completions.create(model="gpt-9", messages=HELLO)
    assert caught.value.code == "model_not_found"
    assert caught.value.request_id
    _made(live, 1)


def test_a_bad_request_is_one_at_the_first_try(sdk: openai.OpenAI, live: LiveServer) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(model="pocket", messages=HELLO, n=1_000_000)
    assert caught.value.param == "n"
    _made(live, 1)


def test_a_loading_server_is_tried_again_as_the_sdk_does(
    sdk: openai.OpenAI, live: LiveServer, service: FakeService
) -> None:
    service.state, service.retry_after = LOADING, 0.1
    patient = sdk.with_options(max_retries=1)
    with pytest.raises(openai.InternalServerError) as caught:
        patient.chat.completions.create(model="pocket", messages=HELLO)
    assert caught.value.status_code == 503
    _made(live, 2)


def test_an_error_in_the_middle_of_a_stream_is_raised(
    sdk: openai.OpenAI, service: FakeService
) -> None:
    service.fail_at, service.failure = 3, ZeroDivisionError("x")
    stream = sdk.chat.completions.create(model="pocket", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError, match="The server failed"):
        list(stream)
