"""KAITO's contract: POST /chat as its Falcon images have it."""

from __future__ import annotations

from typing import Any

import pytest
from app_client import AppClient
from fake_service import REPLY, FakeService

from berth.protocol.messages import GenerateParams
from berth.serving.check_generate import NEEDS_GENERATE
from berth.serving.errors import InvalidRequest, Overloaded

PROMPT = "Girafatron is obsessed with giraffes."
TOKENS = 1 + len(PROMPT)  # of the fake's tokeniser
# The seed's advanced example: every parameter, at its default.
EVERYTHING = {
    "prompt": PROMPT, "max_length": 200, "min_length": 0, "do_sample": True,
    "early_stopping": False, "num_beams": 1, "num_beam_groups": 1, "diversity_penalty": 0.0,
    "temperature": 1.0, "top_k": 10, "top_p": 1, "typical_p": 1, "repetition_penalty": 1,
    "length_penalty": 1, "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None, "num_return_sequences": 1, "output_scores": False,
    "return_dict_in_generate": False, "forced_bos_token_id": None, "forced_eos_token_id": None,
    "remove_invalid_values": None,
}  # fmt: skip


def ask(client: AppClient, **parameters: Any) -> Any:
    return client.post("/chat", {"prompt": PROMPT} | parameters)


def test_the_answer_is_the_prompt_and_what_follows() -> None:
    with AppClient(FakeService(reply=lambda prompt: f" after {prompt[:5]}")) as client:
        reply = ask(client)
    assert (reply.status, reply.json()) == (200, {"Result": f"{PROMPT} after Giraf"})
    assert "berth-ignored-parameters" not in reply.headers


def test_defaults_are_the_images(client: AppClient, service: FakeService) -> None:
    assert ask(client).status == 200
    assert client.post("/chat", EVERYTHING).status == 200
    nulls = {key: None for key in EVERYTHING if key != "prompt"}
    assert ask(client, **nulls).status == 200
    first, second, third = (generation.options for generation in service.generations)
    assert first == second == third
    assert (first.temperature, first.top_k, first.top_p) == (1.0, 10, 1.0)
    assert first.max_tokens == 200 - TOKENS  # max_length counts the prompt
    assert first.repetition_penalty == 1.0
    assert first.min_tokens == 0
    assert first.generate is None
    assert first.continues_prompt
    assert first.clip_max_tokens


def test_greedy_is_do_sample_false(client: AppClient, service: FakeService) -> None:
    ask(client, do_sample=False, temperature=0.3, top_k=3, top_p=0.4, typical_p=0.5)
    options = service.generations[0].options
    assert (options.temperature, options.top_k, options.top_p) == (0.0, 0, 1.0)
    assert options.generate is None  # generate's filters have no effect on the greedy choice


def test_parameters_reach_the_sampler(client: AppClient, service: FakeService) -> None:
    ask(
        client, max_length=100, min_length=90, temperature=0.5, top_k=0, top_p=0.5,
        repetition_penalty=1.2, eos_token_id=7, seed=3, stop="\n",
    )  # fmt: skip
    options = service.generations[0].options
    assert (options.max_tokens, options.min_tokens) == (100 - TOKENS, 90 - TOKENS)
    assert (options.temperature, options.top_k, options.top_p) == (0.5, 0, 0.5)
    assert (options.repetition_penalty, options.seed, options.stop) == (1.2, 3, ("\n",))
    assert (options.stop_token_ids, options.ignore_eos) == ((7,), True)
    ask(client, eos_token_id=[7, 8])
    assert service.generations[1].options.stop_token_ids == (7, 8)


@pytest.mark.parametrize(
    ("parameters", "want"),
    [
        ({"no_repeat_ngram_size": 3}, GenerateParams(no_repeat_ngram_size=3)),
        ({"encoder_no_repeat_ngram_size": 2}, GenerateParams(encoder_no_repeat_ngram_size=2)),
        ({"bad_words_ids": [5, 6]}, GenerateParams(bad_words_ids=[[5], [6]])),
        ({"bad_words_ids": [[5, 6], [7]]}, GenerateParams(bad_words_ids=[[5, 6], [7]])),
        ({"bad_words_ids": []}, None),
        ({"forced_eos_token_id": 0}, GenerateParams(forced_eos_token_id=0)),
        ({"forced_bos_token_id": 4}, GenerateParams(forced_bos_token_id=4)),
        ({"remove_invalid_values": True}, GenerateParams(remove_invalid_values=True)),
        ({"typical_p": 0.5}, GenerateParams(typical_p=0.5)),
        ({"length_penalty": 2, "early_stopping": True}, None),  # without beams
        (
            {"num_beams": 4, "length_penalty": 2, "early_stopping": "never"},
            GenerateParams(num_beams=4, length_penalty=2.0, early_stopping="never"),
        ),
        (
            {"num_beams": 4, "num_return_sequences": 2},
            GenerateParams(num_beams=4, num_return_sequences=2),
        ),
        (
            {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1, "do_sample": False},
            GenerateParams(num_beams=4, num_beam_groups=2, diversity_penalty=1.0),
        ),
    ],
)
def test_what_only_generate_does_is_handed_to_it(
    client: AppClient, service: FakeService, parameters: Any, want: GenerateParams | None
) -> None:
    assert ask(client, **parameters).status == 200
    (generation,) = service.generations
    assert generation.options.generate == want


def test_several_sequences_are_sampled_together_and_concatenated(
    client: AppClient, service: FakeService
) -> None:
    reply = ask(client, num_return_sequences=3, seed=2**63 - 2)
    assert reply.json() == {"Result": (PROMPT + REPLY) * 3}
    seeds = [generation.options.seed for generation in service.generations]
    assert seeds == [2**63 - 2, 2**63 - 1, -(2**63)]


def test_sequences_of_a_beam_search_are_concatenated(service: FakeService) -> None:
    service.others = (" second", " third")
    with AppClient(service) as client:
        reply = ask(client, num_beams=3, num_return_sequences=3)
        streamed = ask(client, num_beams=3, num_return_sequences=3, stream=True)
    assert reply.json() == {"Result": PROMPT + REPLY + PROMPT + " second" + PROMPT + " third"}
    assert streamed.headers["content-type"].startswith("text/event-stream")
    *events, done = streamed.events()
    assert done == "[DONE]"
    assert [tuple(event.values()) for event in events] == [
        (0, REPLY, "stop"), (1, " second", "length"), (2, " third", "length"),
    ]  # fmt: skip


def test_a_stream_is_as_of_generate(client: AppClient) -> None:
    *events, done = ask(client, stream=True, num_return_sequences=2).events()
    assert done == "[DONE]"
    for index in (0, 1):
        own = [event for event in events if event["index"] == index]
        assert "".join(event["response"] for event in own) == REPLY
        assert own[-1]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("parameters", "field", "said"),
    [
        ({"prompt": 3}, ["prompt"], "must be a string"),
        ({"max_length": 0}, ["max_length"], "at least 1"),
        ({"max_length": "long"}, ["max_length"], "must be an integer or null"),
        ({"max_length": TOKENS}, ["max_length"], f"it should be at least {TOKENS + 1}"),
        ({"min_length": -1}, ["min_length"], "at least 0"),
        ({"do_sample": "yes"}, ["do_sample"], "true or false"),
        ({"early_stopping": "soon"}, ["early_stopping"], "early_stopping"),
        ({"num_beams": 0}, ["num_beams"], "at least 1"),
        ({"temperature": -0.1}, ["temperature"], "at least 0"),
        ({"top_k": -1}, ["top_k"], "at least 0"),
        ({"top_p": 0}, ["top_p"], "above 0"),
        ({"top_p": 1.5}, ["top_p"], "at most 1"),
        ({"typical_p": 0}, ["typical_p"], "above 0"),
        ({"repetition_penalty": 0}, ["repetition_penalty"], "above 0"),
        ({"bad_words_ids": "the"}, ["bad_words_ids"], "must be an array or null"),
        ({"bad_words_ids": [["the"]]}, ["bad_words_ids", 0, 0], "an integer"),
        ({"bad_words_ids": [-1]}, ["bad_words_ids", 0], "at least 0"),
        ({"num_return_sequences": 129}, ["num_return_sequences"], "one call may ask for 128"),
        (
            {"num_return_sequences": 2, "do_sample": False},
            ["num_return_sequences"],
            "so it should be 1",
        ),
        ({"eos_token_id": 512}, ["eos_token_id"], "between 0 and 511"),
        ({"seed": 2**63}, ["seed"], "seed"),
        ({"stop": [""]}, ["stop"], "1 to 256 characters"),
    ],
)
def test_wrong_values_are_422_with_the_place(
    client: AppClient, parameters: Any, field: list[object], said: str
) -> None:
    reply = ask(client, **parameters)
    assert reply.status == 422
    (entry,) = reply.json()["detail"]
    assert entry["loc"] == ["body", *field]
    assert said in entry["msg"]
    assert set(entry) == {"type", "loc", "msg"}


@pytest.mark.parametrize("body", [{}, {"prompts": ["x"]}, {"prompt": "x", "input_data": {}}])
def test_neither_shape_and_both_are_422_that_names_both(client: AppClient, body: Any) -> None:
    reply = client.post("/chat", body)
    assert reply.status == 422
    message = reply.json()["detail"][0]["msg"]
    assert '{"prompt": "…"}' in message
    assert '{"input_data": {"input_string": […]}}' in message


def test_a_prompt_that_cannot_fit_is_422_with_the_numbers(client: AppClient) -> None:
    reply = client.post("/chat", {"prompt": "x" * 5000, "max_length": 9000})
    assert reply.status == 422
    assert reply.json()["detail"][0]["loc"] == ["body", "prompt"]
    assert "maximum context length is 4096 tokens" in reply.json()["detail"][0]["msg"]


def test_what_the_engine_does_not_do_is_400_that_names_it(service: FakeService) -> None:
    service.refusal = InvalidRequest("num_beams needs …", "num_beams", NEEDS_GENERATE)
    with AppClient(service) as client:
        reply = ask(client, num_beams=2)
    assert (reply.status, reply.json()) == (400, {"detail": "Request Failed: num_beams needs …"})


def test_other_refusals_are_as_everywhere(service: FakeService) -> None:
    service.refusal = Overloaded("The queue is full.", retry_after=0.2)
    with AppClient(service) as client:
        reply = ask(client)
    assert (reply.status, reply.headers["retry-after"]) == (429, "1")


def test_what_is_ignored_is_named_in_a_header(client: AppClient) -> None:
    reply = ask(client, return_full_text=True, num_beam=4)
    assert reply.status == 200
    assert reply.headers["berth-ignored-parameters"] == "return_full_text, num_beam"
