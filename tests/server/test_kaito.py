"""KAITO's contract: the routes, bodies and sentences of its Llama-2 images."""

from __future__ import annotations

import math

import pytest
from app_client import AppClient
from fake_service import LOADING, REPLY, FakeService

from berth.server.settings import ServerSettings
from berth.serving.errors import EngineFailed, TimedOut
from berth.serving.service import Health

PARIS = {"role": "user", "content": "What is the capital of France?"}
UNSAFE = "Error: special tags are not allowed as part of the prompt."


@pytest.mark.parametrize("stop", ["", [], None])
def test_an_empty_stop_is_none(client: AppClient, service: FakeService, stop: object) -> None:
    body = {"prompts": ["x"], "parameters": {"stop": stop}}
    assert client.post("/generate", body).status == 200
    assert client.post("/chat", {"prompt": "x", "stop": stop}).status == 200
    assert [generation.options.stop for generation in service.generations] == [(), ()]


def test_root_says_that_the_server_runs(client: AppClient) -> None:
    reply = client.get("/")
    assert (reply.status, reply.body) == (200, b'["Server is running",200]')


def test_healthz_is_healthy_without_a_gpu(client: AppClient) -> None:
    reply = client.get("/healthz")
    assert (reply.status, reply.json()) == (200, {"status": "Healthy"})


def test_healthz_while_loading_keeps_the_detail_with_a_503(
    client: AppClient, service: FakeService
) -> None:
    service.state = LOADING
    reply = client.get("/healthz")
    assert reply.status == 503
    assert reply.json()["detail"] == "Llama model not initialized"
    assert reply.json()["progress"] == 0.25


def test_healthz_of_a_restarting_engine_says_so(client: AppClient, service: FakeService) -> None:
    service.state = Health("restarting", "The engine died and is being restarted.", False)
    reply = client.get("/healthz")
    assert reply.status == 503
    assert reply.json()["detail"] == "The engine died and is being restarted."


def test_generate_answers_every_prompt_in_order() -> None:
    service = FakeService(reply=lambda prompt: f" after {prompt}")
    with AppClient(service) as client:
        body = {"prompts": ["one", "two"], "parameters": {"max_gen_len": 128}}
        reply = client.post("/generate", body)
    assert reply.status == 200
    assert reply.json() == {
        "results": [
            {"prompt": "one", "response": " after one"},
            {"prompt": "two", "response": " after two"},
        ]
    }
    assert "berth-ignored-parameters" not in reply.headers


def test_generate_defaults_are_the_images(client: AppClient, service: FakeService) -> None:
    client.post("/generate", {"prompts": ["x"], "parameters": None})
    options = service.generations[0].options
    assert (options.temperature, options.top_p, options.max_tokens) == (0.6, 0.9, None)
    assert options.clip_max_tokens
    assert options.continues_prompt
    assert options.max_temperature == math.inf


def test_all_prompts_of_a_call_are_submitted_before_any_runs(service: FakeService) -> None:
    service.hold_at = 1
    with AppClient(service) as client:
        client.loop.call_later(0.02, service.go.set)
        reply = client.post("/generate", {"prompts": ["a"] * 7})
    assert reply.status == 200
    assert len(service.generations) == 7


def test_chat_echoes_the_dialog_with_capitalised_roles(client: AppClient) -> None:
    dialog = [{"role": "system", "content": "Be brief"}, PARIS]
    reply = client.post("/chat", {"input_data": {"input_string": [dialog]}})
    assert reply.status == 200
    assert reply.json() == {
        "results": [
            [
                {"role": "System", "content": "Be brief"},
                {"role": "User", "content": PARIS["content"]},
                {"role": "Assistant", "content": REPLY},
            ]
        ]
    }


def test_special_tags_are_refused_for_their_dialog_alone(
    client: AppClient, service: FakeService
) -> None:
    unsafe = {"role": "user", "content": "Unsafe [/INST] prompt using [INST] special tags"}
    reply = client.post("/chat", {"input_data": {"input_string": [[PARIS], [unsafe], [PARIS]]}})
    assert reply.status == 200
    contents = [dialog[-1]["content"] for dialog in reply.json()["results"]]
    assert contents == [REPLY, UNSAFE, REPLY]
    assert len(service.generations) == 2


def test_a_tag_that_only_the_template_knows_is_refused_in_the_same_way(client: AppClient) -> None:
    unsafe = {"role": "user", "content": "<<SYS>>"}
    reply = client.post("/chat", {"input_data": {"input_string": [[unsafe]]}})
    assert reply.json()["results"][0][-1] == {"role": "Assistant", "content": UNSAFE}


@pytest.mark.parametrize(
    ("outer", "inner", "temperature", "limit"),
    [
        pytest.param({"temperature": 0.1}, None, 0.1, None, id="beside-input_data"),
        pytest.param(None, {"temperature": 0.2}, 0.2, None, id="inside-input_data"),
        pytest.param(
            {"temperature": 0.1}, {"temperature": 0.2, "max_gen_len": 3}, 0.1, 3, id="both"
        ),
    ],
)
def test_parameters_count_at_both_places_and_the_outer_one_wins(
    client: AppClient,
    service: FakeService,
    outer: object,
    inner: object,
    temperature: float,
    limit: int | None,
) -> None:
    data = {"input_string": [[PARIS]], "parameters": inner}
    assert client.post("/chat", {"input_data": data, "parameters": outer}).status == 200
    options = service.generations[0].options
    assert (options.temperature, options.max_tokens) == (temperature, limit)


def test_berths_own_parameters_are_taken(client: AppClient, service: FakeService) -> None:
    parameters = {
        "top_k": -1,
        "min_p": 0.1,
        "seed": 7,
        "stop": "\n",
        "repetition_penalty": 1.1,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.25,
    }
    client.post("/generate", {"prompts": ["x"], "parameters": parameters})
    options = service.generations[0].options
    assert (options.top_k, options.min_p, options.seed, options.stop) == (-1, 0.1, 7, ("\n",))
    assert options.repetition_penalty == 1.1
    assert (options.presence_penalty, options.frequency_penalty) == (0.5, 0.25)


def test_what_is_ignored_is_named_in_a_header(client: AppClient) -> None:
    data = {
        "input_string": [[PARIS]],
        "parameters": {"num_beams": 4, "bad\r\nname": 1},
        "extra": 1,
    }
    body = {"input_data": data, "parameters": {"do_sample": True}, "more": None}
    reply = client.post("/chat", body)
    assert reply.status == 200
    assert reply.headers["berth-ignored-parameters"] == (
        "more, parameters.do_sample, input_data.extra, input_data.parameters.num_beams, "
        "input_data.parameters.bad??name"
    )


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("/generate", {"prompts": []}, "Prompts are required and should be an array"),
        ("/chat", {"input_data": {}}, "Input data is required"),
        ("/chat", {"input_data": {"input_string": []}}, "Input string is required"),
        ("/chat", {"input_data": {"parameters": {}}}, "Input string is required"),
        ("/chat", {"input_data": {"input_string": None}}, "Input string is required"),
    ],
)
def test_empty_requests_get_the_contracts_sentences(
    client: AppClient, path: str, body: object, detail: str
) -> None:
    reply = client.post(path, body)
    assert (reply.status, reply.json()) == (400, {"detail": detail})


def test_a_wrong_order_of_roles_is_a_failed_request(client: AppClient) -> None:
    dialog = [PARIS, {"role": "assistant", "content": "Paris"}]
    reply = client.post("/chat", {"input_data": {"input_string": [dialog]}})
    assert (reply.status, reply.json()) == (
        400,
        {"detail": "Request Failed: Last message must be from user, got assistant"},
    )


def test_an_empty_dialog_is_a_failed_request(client: AppClient) -> None:
    reply = client.post("/chat", {"input_data": {"input_string": [[PARIS], []]}})
    assert reply.status == 400
    assert reply.json()["detail"].startswith("Request Failed: input_string[1] is an empty dialog")


@pytest.mark.parametrize(
    ("path", "body", "location", "said"),
    [
        ("/generate", {}, ["body", "prompts"], "prompts is required."),
        ("/generate", {"prompts": "x"}, ["body", "prompts"], "must be an array, not a string"),
        ("/generate", {"prompts": ["x", 3]}, ["body", "prompts", 1], "must be a string"),
        (
            "/generate",
            {"prompts": ["x"], "parameters": {"temperature": "hot"}},
            ["body", "parameters", "temperature"],
            "parameters.temperature must be a number or null, not a string.",
        ),
        (
            "/generate",
            {"prompts": ["x"], "parameters": {"max_gen_len": -1}},
            ["body", "parameters", "max_gen_len"],
            "parameters.max_gen_len must be at least 0.",
        ),
        ("/chat", {"input_data": None}, ["body", "input_data"], "must be an object, not null"),
        (
            "/chat",
            {"input_data": {"input_string": [[{"role": "user"}]]}},
            ["body", "input_data", "input_string", 0, 0, "content"],
            "is required",
        ),
        ("/chat", [], ["body"], "The body must be an object, not an array."),
    ],
)
def test_wrong_shapes_are_422_with_the_place(
    client: AppClient, path: str, body: object, location: list[object], said: str
) -> None:
    reply = client.post(path, body)
    assert reply.status == 422
    (entry,) = reply.json()["detail"]
    assert entry["loc"] == location
    assert said in entry["msg"]


def test_another_dialects_prompt_is_told_which_shape_is_known(client: AppClient) -> None:
    reply = client.post("/generate", {"prompt": "x"})
    assert reply.status == 422
    assert '{"prompts": ["…"]}' in reply.json()["detail"][0]["msg"]


def test_too_many_prompts_are_refused_with_the_limit(client: AppClient) -> None:
    reply = client.post("/generate", {"prompts": ["x"] * 257})
    assert reply.status == 400
    assert "257 entries; one call may bring 256" in reply.json()["detail"]


def test_a_limit_of_zero_is_refused_under_kaitos_name(client: AppClient) -> None:
    reply = client.post("/generate", {"prompts": ["x"], "parameters": {"max_gen_len": 0}})
    assert (reply.status, reply.json()) == (
        400,
        {"detail": "Request Failed: max_gen_len is 0; it should be an integer at least 1"},
    )


def test_a_prompt_that_can_never_fit_is_refused_with_the_numbers(client: AppClient) -> None:
    reply = client.post("/generate", {"prompts": ["x", "x" * 5000]})
    assert reply.status == 400
    assert (
        "maximum context length is 4096 tokens. However, you requested 5002 tokens"
        in reply.json()["detail"]
    )


def test_a_refused_prompt_takes_its_companions_along(
    client: AppClient, service: FakeService
) -> None:
    client.post("/generate", {"prompts": ["x", "x" * 5000]})
    assert [generation.cancelled for generation in service.generations] == [True]


def test_a_full_queue_is_429_with_retry_after(client: AppClient, service: FakeService) -> None:
    service.capacity = 0
    reply = client.post("/generate", {"prompts": ["x"]})
    assert (reply.status, reply.headers["retry-after"]) == (429, "1")
    assert reply.json() == {"detail": "Request Failed: The queue is full."}


def test_a_loading_model_is_503_with_retry_after(client: AppClient, service: FakeService) -> None:
    service.state = LOADING
    reply = client.post("/chat", {"input_data": {"input_string": [[PARIS]]}})
    assert (reply.status, reply.headers["retry-after"]) == (503, "3")
    assert reply.json() == {"detail": "Request Failed: The model is still loading."}


@pytest.mark.parametrize(
    ("failure", "status", "detail"),
    [
        (EngineFailed("The engine died twice."), 500, "Request Failed: The engine died twice."),
        (TimedOut("too long"), 408, "Request Timed Out"),
    ],
)
def test_failures_have_the_contracts_bodies_and_sane_codes(
    client: AppClient, service: FakeService, failure: Exception, status: int, detail: str
) -> None:
    service.fail_at, service.failure = 2, failure
    reply = client.post("/generate", {"prompts": ["x"]})
    assert (reply.status, reply.json()) == (status, {"detail": detail})


def test_a_streamed_call_sends_deltas_then_reasons_then_done(client: AppClient) -> None:
    reply = client.post("/generate", {"prompts": ["a", "b"], "stream": True})
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    *events, done = reply.events()
    assert done == "[DONE]"
    for index in (0, 1):
        own = [event for event in events if event["index"] == index]
        assert "".join(event["response"] for event in own) == REPLY
        assert [event.get("finish_reason") for event in own] == [None, None, None, "stop"]


def test_a_streamed_chat_answers_safe_and_unsafe_dialogs(client: AppClient) -> None:
    unsafe = {"role": "user", "content": "[INST]"}
    body = {"input_data": {"input_string": [[unsafe], [PARIS]]}, "stream": True}
    *events, done = client.post("/chat", body).events()
    assert done == "[DONE]"
    assert events[0] == {"index": 0, "content": UNSAFE, "finish_reason": "stop"}
    assert "".join(event["content"] for event in events[1:]) == REPLY
    assert {event["index"] for event in events[1:]} == {1}


def test_a_stream_of_unsafe_dialogs_alone_is_a_stream(client: AppClient) -> None:
    unsafe = {"role": "user", "content": "[INST]"}
    body = {"input_data": {"input_string": [[unsafe]]}, "stream": True}
    reply = client.post("/chat", body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert [event["content"] for event in reply.events()[:-1]] == [UNSAFE]


def test_an_error_before_the_first_token_has_its_own_status(
    client: AppClient, service: FakeService
) -> None:
    service.fail_at, service.failure = 1, EngineFailed("The engine died twice.")
    reply = client.post("/generate", {"prompts": ["a", "b"], "stream": True})
    assert reply.status == 500
    assert reply.json() == {"detail": "Request Failed: The engine died twice."}
    assert all(generation.cancelled for generation in service.generations)


def test_an_error_in_the_middle_ends_the_stream_with_its_sentence(
    client: AppClient, service: FakeService
) -> None:
    service.fail_at, service.failure = 3, EngineFailed("The engine died twice.")
    reply = client.post("/generate", {"prompts": ["a"], "stream": True})
    assert reply.status == 200
    assert reply.events()[-2:] == [{"detail": "Request Failed: The engine died twice."}, "[DONE]"]


def test_shutdown_drains(service: FakeService) -> None:
    with AppClient(service, ServerSettings(allow_shutdown=True)) as client:
        reply = client.post("/shutdown", b"")
        assert (reply.status, reply.json()) == (200, {})
        assert client.lifecycle.draining
        assert client.post("/generate", {"prompts": ["x"]}).status == 503
        assert client.get("/readyz").status == 503
        assert client.get("/livez").status == 200
