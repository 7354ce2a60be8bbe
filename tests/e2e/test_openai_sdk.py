"""The openai package, unchanged, against a real engine."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from e2e.berth_server import Server, berth_serve, poll


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("pocket")
    with berth_serve(path, "pocket", environment={"BERTH_API_KEY": "sk-test"}) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(api_key="sk-test", base_url=f"{server.url}/v1", max_retries=2)


QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["pocket"]
    assert client.models.retrieve("pocket").object == "model"


def test_a_chat_is_answered_with_usage(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="pocket", messages=QUESTION, temperature=0)
    choice = answer.choices[0]
    assert "Paris" in (choice.message.content or "")
    assert choice.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_says_the_same_and_ends_with_usage(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="pocket", messages=QUESTION, temperature=0)
    stream = client.chat.completions.create(
        model="pocket",
        messages=QUESTION,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].choices == []


def test_completions_take_several_prompts_and_echo_logprobs(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="pocket",
        prompt=["The capital of France is", "2 + 2 ="],
        max_tokens=4,
        temperature=0,
        echo=True,
        logprobs=1,
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice, prompt in zip(answer.choices, ("The capital of France is", "2 + 2 ="), strict=True):
        assert choice.text.startswith(prompt)
        assert choice.logprobs is not None
        assert choice.logprobs.tokens is not None
        assert choice.logprobs.token_logprobs is not None
        assert choice.logprobs.token_logprobs[0] is None
        assert all(value is not None for value in choice.logprobs.token_logprobs[1:])


def test_errors_are_the_sdks_own_and_not_retried(server: Server, client: openai.OpenAI) -> None:
    before = server.log.count("berth.access")
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4", messages=QUESTION)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="pocket", messages=QUESTION, temperature=7)
    assert bad.value.param == "temperature"
    stranger = openai.OpenAI(api_key="wrong", base_url=f"{server.url}/v1")
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    # A line is written after its answer: wait for the third, and see that there is no fourth.
    poll(lambda: server.log.count("berth.access") >= before + 3, what="three lines in the log")
    assert server.call("/livez")[0] == 200
    assert server.log.count("berth.access") == before + 3
    assert "wrong" not in server.log.replace("went wrong", "")
    assert "sk-test" not in server.log
