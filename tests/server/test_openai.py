"""OpenAI's dialect: shapes, chunks, codes and the error envelope."""

from __future__ import annotations

from typing import Any

import pytest
from app_client import AppClient
from fake_service import LOADING, REPLY, FakeService

from berth.server.settings import ServerSettings
from berth.serving.errors import EngineFailed, TimedOut

HELLO = [{"role": "user", "content": "Hello"}]
CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"


def _error(reply: Any) -> dict[str, Any]:
    assert set(reply.json()) == {"error"}
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    return reply.json()["error"]


def test_models_lists_the_model_and_its_aliases(service: FakeService) -> None:
    with AppClient(service, aliases=("org/name",)) as client:
        page = client.get("/v1/models/").json()
        one = client.get("/v1/models/org/name").json()
        missing = client.get("/v1/models/org/other")
    assert page["object"] == "list"
    assert [model["id"] for model in page["data"]] == ["pocket", "org/name"]
    assert one == {
        "id": "org/name",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "berth",
        "max_model_len": 4096,
    }
    assert missing.status == 404
    assert _error(missing)["code"] == "model_not_found"


def test_chat_answers_in_openais_shape(client: AppClient) -> None:
    reply = client.post(CHAT, {"model": "pocket", "messages": HELLO, "user": "ignored"})
    body = reply.json()
    assert reply.status == 200
    assert body.pop("id") == f"chatcmpl-{reply.headers['x-request-id']}"
    assert isinstance(body.pop("created"), int)
    assert body == {
        "object": "chat.completion",
        "model": "pocket",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": REPLY, "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 4,
            "total_tokens": 16,
            "prompt_tokens_details": {"cached_tokens": 1},
        },
    }


def test_null_means_the_default_everywhere(client: AppClient, service: FakeService) -> None:
    names = ["model", "temperature", "top_p", "n", "seed", "stop", "presence_penalty",
             "frequency_penalty", "logit_bias", "stream", "stream_options", "top_k", "min_p",
             "repetition_penalty", "max_completion_tokens", "max_tokens", "logprobs",
             "top_logprobs", "tools", "functions", "response_format"]  # fmt: skip
    reply = client.post(CHAT, {"messages": HELLO, **dict.fromkeys(names)})
    assert reply.status == 200
    options = service.generations[0].options
    assert (options.max_tokens, options.temperature, options.top_p) == (None, 1.0, 1.0)
    assert (options.seed, options.stop, options.logprobs) == (None, (), None)


def test_options_reach_the_model(client: AppClient, service: FakeService) -> None:
    body = {
        "messages": HELLO,
        "temperature": 0,
        "top_p": 0.5,
        "seed": 5,
        "stop": ["a", "b"],
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "logit_bias": {"12": -100},
        "top_k": 3,
        "min_p": 0.1,
        "repetition_penalty": 1.2,
        "max_tokens": 3,
        "max_completion_tokens": 2,
    }
    assert client.post(CHAT, body).json()["choices"][0]["finish_reason"] == "length"
    options = service.generations[0].options
    assert (options.temperature, options.top_p, options.seed) == (0.0, 0.5, 5)
    assert (options.stop, options.logit_bias) == (("a", "b"), {12: -100.0})
    assert (options.top_k, options.min_p, options.repetition_penalty) == (3, 0.1, 1.2)
    assert options.max_tokens == 2
    assert not options.clip_max_tokens


def test_content_parts_and_developer_messages_are_text(service: FakeService) -> None:
    service.reply = lambda prompt: prompt
    messages = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}],
        },
    ]
    with AppClient(service) as client:
        reply = client.post(CHAT, {"messages": messages})
    content = reply.json()["choices"][0]["message"]["content"]
    assert content == "system: Be brief.\nuser: Hel\nlo", "as vLLM joins them"


def test_n_choices_share_the_prompt_and_differ_in_seed(
    client: AppClient, service: FakeService
) -> None:
    body = client.post(CHAT, {"messages": HELLO, "n": 3, "seed": 40}).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert body["usage"]["prompt_tokens"] == 12
    assert body["usage"]["completion_tokens"] == 12
    assert [generation.options.seed for generation in service.generations] == [40, 41, 42]


def test_chat_logprobs_have_bytes_and_no_infinities(client: AppClient) -> None:
    body = {"messages": HELLO, "logprobs": True, "top_logprobs": 2, "max_tokens": 1}
    content = client.post(CHAT, body).json()["choices"][0]["logprobs"]["content"]
    assert content == [
        {
            "token": "Paris",
            "logprob": -0.5,
            "bytes": list(b"Paris"),
            "top_logprobs": [
                {"token": "Paris", "logprob": -0.5, "bytes": list(b"Paris")},
                {"token": "other", "logprob": -9999.0, "bytes": list(b"other")},
            ],
        }
    ]


def test_a_chat_stream_is_role_content_reason_done(client: AppClient) -> None:
    reply = client.post(CHAT, {"messages": HELLO, "stream": True})
    *chunks, done = reply.events()
    assert done == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert not any("usage" in chunk for chunk in chunks)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta["content"] for delta in deltas[:-1]) == REPLY
    assert deltas[-1] == {}
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["stop"]


@pytest.mark.parametrize(("path", "body"), [(CHAT, {"messages": HELLO}), (TEXT, {"prompt": "x"})])
def test_usage_is_null_until_a_last_chunk_without_choices(
    client: AppClient, path: str, body: dict[str, object]
) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}, "n": 2}
    *chunks, last, done = client.post(path, {**body, **options}).events()
    assert done == "[DONE]"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 8
    assert last["usage"]["total_tokens"] == 8 + last["usage"]["prompt_tokens"]


def test_streamed_logprobs_come_with_their_tokens(client: AppClient) -> None:
    body = {"messages": HELLO, "stream": True, "logprobs": True}
    *chunks, _ = client.post(CHAT, body).events()
    tokens = [
        entry["token"]
        for chunk in chunks
        for entry in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]
    ]
    assert "".join(tokens) == REPLY


@pytest.mark.parametrize(
    ("prompt", "choices"),
    [("one", 1), (["one", "two"], 2), ([256, 1, 2], 1), ([[256, 1], [256]], 2)],
)
def test_completions_take_all_four_forms_of_a_prompt(
    client: AppClient, service: FakeService, prompt: object, choices: int
) -> None:
    body = client.post(TEXT, {"prompt": prompt, "n": 2}).json()
    assert body["object"] == "text_completion"
    assert [choice["index"] for choice in body["choices"]] == list(range(choices * 2))
    assert body["choices"][0]["text"] == REPLY
    assert all(generation.options.max_tokens == 16 for generation in service.generations)
    assert all(generation.options.continues_prompt for generation in service.generations)


def test_lm_eval_payload_gets_the_prompts_logprobs(client: AppClient) -> None:
    body = {"prompt": [[104, 105]], "echo": True, "logprobs": 1, "max_tokens": 1, "seed": 1234}
    choice = client.post(TEXT, {"model": "pocket", "temperature": 0, **body}).json()["choices"][0]
    assert choice["text"] == "hiParis"
    logprobs = choice["logprobs"]
    assert logprobs["tokens"] == ["hi", "Paris"]
    assert logprobs["text_offset"] == [0, 2]
    assert logprobs["token_logprobs"] == [None, -0.5]
    assert logprobs["top_logprobs"] == [None, {"Paris": -0.5}]


def test_a_completion_stream_has_text_and_growing_offsets(client: AppClient) -> None:
    *chunks, done = client.post(TEXT, {"prompt": "x", "stream": True, "logprobs": 0}).events()
    assert done == "[DONE]"
    choices = [chunk["choices"][0] for chunk in chunks]
    assert "".join(choice["text"] for choice in choices) == REPLY
    offsets = [offset for choice in choices for offset in choice["logprobs"]["text_offset"]]
    assert offsets == [0, 5, 8, 12]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]


@pytest.mark.parametrize(
    ("path", "body", "param", "said"),
    [
        (CHAT, {}, "messages", "messages is required."),
        (CHAT, {"messages": []}, "messages", "at least one message"),
        (CHAT, {"messages": HELLO, "n": 1_000_000}, "n", "n must be at most 128, not 1000000"),
        (CHAT, {"messages": HELLO, "n": 0}, "n", "n must be at least 1."),
        (CHAT, {"messages": HELLO, "n": True}, "n", "an integer or null, not true or false"),
        (
            CHAT,
            {"messages": HELLO, "temperature": 2.5},
            "temperature",
            "it should be a number at least 0 and at most 2",
        ),
        (CHAT, {"messages": HELLO, "max_tokens": 0}, "max_tokens", "an integer at least 1"),
        (
            CHAT,
            {"messages": HELLO, "max_completion_tokens": 0},
            "max_completion_tokens",
            "max_completion_tokens is 0; it should be",
        ),
        (CHAT, {"messages": HELLO, "tools": [{}]}, "tools", "not supported yet"),
        (CHAT, {"messages": HELLO, "functions": [{}]}, "functions", "not supported yet"),
        (
            CHAT,
            {"messages": HELLO, "response_format": {"type": "json_object"}},
            "response_format",
            "not supported yet",
        ),
        (CHAT, {"messages": HELLO, "top_logprobs": 2}, "top_logprobs", "needs logprobs"),
        (CHAT, {"messages": HELLO, "top_logprobs": 21}, "top_logprobs", "at most 20"),
        (CHAT, {"messages": HELLO, "logit_bias": {"x": 1}}, "logit_bias", "every key of"),
        (
            CHAT,
            {"messages": HELLO, "logit_bias": {str(i): 1 for i in range(2000)}},
            "logit_bias",
            "at most 1024",
        ),
        (CHAT, {"messages": HELLO, "stop": [1]}, "stop[0]", "stop[0] must be a string"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content[0]",
            "images are not supported",
        ),
        (
            CHAT,
            {"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]},
            "messages[0].tool_calls",
            "not supported yet",
        ),
        (CHAT, {"messages": [{"role": "user"}]}, "messages[0].content", "is required"),
        (TEXT, {}, "prompt", "prompt is required."),
        (TEXT, {"prompt": []}, "prompt", "must not be an empty array"),
        (TEXT, {"prompt": [[]]}, "prompt", "prompt[0] holds no token ids"),
        (TEXT, {"prompt": ["a", [1]]}, "prompt", "not a mixture"),
        (TEXT, {"prompt": ["a", 1]}, "prompt", "not a mixture"),
        (TEXT, {"prompt": "x", "suffix": "y"}, "suffix", "not supported"),
        (TEXT, {"prompt": "x", "best_of": 3}, "best_of", "other than n"),
        (TEXT, {"prompt": ["x"] * 100, "n": 3}, "n", "asks for 300 answers"),
        (TEXT, {"prompt": ["x"] * 300}, "prompt", "one call may ask for 256"),
        (TEXT, {"prompt": [1_000_000]}, "prompt", "between 0 and 511"),
    ],
)
def test_what_is_wrong_is_named(
    client: AppClient, path: str, body: object, param: str | None, said: str
) -> None:
    reply = client.post(path, body)
    error = _error(reply)
    assert (reply.status, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert said in error["message"]


def test_a_prompt_that_can_never_fit_has_openais_code(client: AppClient) -> None:
    reply = client.post(TEXT, {"prompt": "x" * 5000})
    assert reply.status == 400
    error = _error(reply)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "prompt")


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [(CHAT, {"messages": HELLO}, "messages"), (TEXT, {"prompt": "x"}, "prompt")],
)
def test_a_prompt_that_leaves_no_room_is_told_by_the_clients_own_word_for_it(
    client: AppClient, path: str, body: dict[str, object], name: str
) -> None:
    error = _error(client.post(path, {**body, "max_tokens": 4096}))
    assert (error["code"], error["param"]) == ("context_length_exceeded", name)
    assert f" in the {name}, 4096 in the completion)" in error["message"]
    assert error["message"].endswith(f"Please reduce the length of the {name} or completion.")


@pytest.mark.parametrize(("path", "body"), [(CHAT, {"messages": HELLO}), (TEXT, {"prompt": "x"})])
def test_an_unknown_model_is_404(client: AppClient, path: str, body: dict[str, object]) -> None:
    reply = client.post(path, {**body, "model": "gpt-9"})
    assert reply.status == 404
    assert _error(reply) == {
        "message": "The model `gpt-9` does not exist",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1", 404, "not_found"),
        ("GET", CHAT, 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
    ],
)
def test_wrong_routes_under_v1_have_the_envelope(
    client: AppClient, method: str, path: str, status: int, code: str
) -> None:
    reply = client.call(method, path, b"")
    assert reply.status == status
    assert _error(reply)["code"] == code
    assert "x-request-id" in reply.headers
    if status == 405:
        assert reply.headers["allow"] == {"POST": "GET, HEAD", "GET": "POST"}[method]


def test_overload_and_loading_ask_to_come_again(client: AppClient, service: FakeService) -> None:
    service.capacity = 0
    full = client.post(CHAT, {"messages": HELLO})
    service.state = LOADING
    loading = client.post(CHAT, {"messages": HELLO})
    assert (full.status, full.headers["retry-after"]) == (429, "1")
    assert _error(full)["code"] == "rate_limit_exceeded"
    assert (loading.status, loading.headers["retry-after"]) == (503, "3")


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [(EngineFailed("It died twice."), 500, "engine_failed"), (TimedOut("late"), 408, "timeout")],
)
def test_failures_that_repeating_makes_worse_are_marked(
    client: AppClient, service: FakeService, failure: Exception, status: int, code: str
) -> None:
    service.fail_at, service.failure = 1, failure
    reply = client.post(CHAT, {"messages": HELLO, "stream": True})
    assert (reply.status, reply.headers["x-should-retry"]) == (status, "false")
    assert _error(reply)["code"] == code


def test_an_error_in_the_middle_is_an_error_event(client: AppClient, service: FakeService) -> None:
    service.fail_at, service.failure = 2, EngineFailed("It died twice.")
    events = client.post(CHAT, {"messages": HELLO, "stream": True}).events()
    assert events[-1] == "[DONE]"
    assert events[-2]["error"]["message"] == "It died twice."


def test_a_call_over_its_time_is_cancelled_with_408(service: FakeService) -> None:
    service.hold_at = 2
    with AppClient(service, ServerSettings(request_timeout_seconds=0.05)) as client:
        whole = client.post(CHAT, {"messages": HELLO})
        streamed = client.post(CHAT, {"messages": HELLO, "stream": True})
    assert whole.status == 408
    assert streamed.events()[-2]["error"]["code"] == "timeout"
    assert all(generation.cancelled for generation in service.generations)
