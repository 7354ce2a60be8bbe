"""Nothing that a client sends ends as a server fault, and every refusal says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from app_client import AppClient
from fake_service import FakeService
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from berth.server.settings import ServerSettings

POST_ROUTES = ["/generate", "/chat", "/v1/chat/completions", "/v1/completions"]
HELLO = '"messages":[{"role":"user","content":"Hello"}]'


@pytest.fixture(scope="module")
def one_client() -> Iterator[AppClient]:
    with AppClient(FakeService()) as client:
        yield client


def _said(reply: Any) -> str:
    body = reply.json()
    if "error" in body:
        return str(body["error"]["message"])
    detail = body["detail"]
    return str(detail if isinstance(detail, str) else detail[0]["msg"])


@pytest.mark.parametrize("path", POST_ROUTES)
@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(b"", "The body is empty; it must be a JSON object.", id="empty"),
        pytest.param(b"{", "not valid JSON", id="cut"),
        pytest.param(b"\xef\xbb\xbf{", "not valid JSON", id="byte-order-mark"),
        pytest.param(b"[" * 20_000, "The body must be an object", id="deep-array"),
        pytest.param(b'{"a":' * 20_000, "nested too deeply", id="deep-object"),
        pytest.param(b'{"x":"\\ud800"}', "x holds half a surrogate pair", id="surrogate"),
        pytest.param(b'{"\\ud800":1}', "has a key with half a surrogate pair", id="bad-key"),
        pytest.param(b'{"x":[NaN]}', "x[0] must be a finite number", id="nan"),
        pytest.param(b'{"x":-Infinity}', "x must be a finite number", id="infinity"),
        pytest.param(b"null", "The body must be an object, not null.", id="null"),
        pytest.param(b'"x"', "The body must be an object, not a string.", id="string"),
    ],
)
def test_what_is_no_json_is_refused_with_the_reason(
    one_client: AppClient, path: str, body: bytes, said: str
) -> None:
    reply = one_client.post(path, body)
    assert reply.status == (400 if path.startswith("/v1") else 422)
    assert said in _said(reply)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate", b'{"prompts":["\xff"]}'),
        ("/generate", b'{"prompts":["x"],"\xff":1}'),
        ("/generate", b'{"prompts":["x"],"parameters":{"\xff":1}}'),
        ("/generate", b'{"prompt":"x","\xff":1}'),
        ("/chat", b'{"input_data":{"\xff":1}}'),
        ("/v1/completions", b'{"prompt":"\xff"}'),
    ],
)
def test_broken_utf8_is_refused_wherever_it_is(
    one_client: AppClient, path: str, body: bytes
) -> None:
    reply = one_client.post(path, body)
    assert reply.status in (400, 422)
    assert "not valid UTF-8" in _said(reply)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_temperature_that_is_no_number_is_named(one_client: AppClient, word: str) -> None:
    body = f'{{{HELLO},"temperature":{word}}}'.encode()
    reply = one_client.post("/v1/chat/completions", body)
    assert reply.status == 400
    assert reply.json()["error"]["param"] == "temperature"


@pytest.mark.parametrize(
    "number", ["9" * 30, "1" + "0" * 400, "-1", "1.5", "9" * 5000], ids=lambda n: n[:5]
)
@pytest.mark.parametrize("field", ["max_tokens", "n", "top_logprobs"])
def test_numbers_beyond_all_measure_are_named(
    one_client: AppClient, field: str, number: str
) -> None:
    body = f'{{{HELLO},"logprobs":true,"{field}":{number}}}'.encode()
    reply = one_client.post("/v1/chat/completions", body)
    assert reply.status == 400
    assert reply.json()["error"]["param"] == field


def test_nul_bytes_are_text_like_any_other(one_client: AppClient) -> None:
    assert one_client.post("/generate", {"prompts": ["a\0b"]}).status == 200


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_above_the_limit_is_413(service: FakeService, announced: bool) -> None:
    body = json.dumps({"prompts": ["x" * 2000]}).encode()
    headers = {"content-length": str(len(body))} if announced else {}
    with AppClient(service, ServerSettings(max_body_bytes=1000)) as client:
        sent = client.request("POST", "/generate", body, headers, chunk=300)
        reply = client.loop.run_until_complete(sent)
    assert reply.status == 413
    assert reply.headers["connection"] == "close"
    assert "1000 bytes" in _said(reply)


def test_a_megabyte_of_prompt_is_refused_as_too_long(one_client: AppClient) -> None:
    reply = one_client.post("/generate", {"prompts": ["x" * 1_000_000]})
    assert reply.status == 400
    assert "context" in _said(reply)


def test_half_a_surrogate_in_an_answer_is_replaced_not_a_fault(service: FakeService) -> None:
    service.reply = lambda _: "a\ud800b"
    with AppClient(service) as client:
        whole = client.post("/generate", {"prompts": ["x"]})
        streamed = client.post("/generate", {"prompts": ["x"], "stream": True})
    assert whole.json()["results"][0]["response"] == "a\ufffdb"
    assert streamed.events()[0]["response"] == "a\ufffdb"


def test_paths_with_odd_letters_are_404(one_client: AppClient) -> None:
    for path in ("/v1/models/\udcff", "/v1/models/\0", "/nothing/\u2603", "/v1/models/.."):
        assert one_client.get(path).status == 404


@pytest.mark.parametrize("path", ["/nothing", "/generate/x"])
def test_unknown_routes_are_404_in_fastapis_shape(one_client: AppClient, path: str) -> None:
    reply = one_client.post(path, {})
    assert (reply.status, list(reply.json())) == (404, ["detail"])


_NAMES = (
    "prompts prompt parameters stream input_data input_string messages role content model n stop "
    "max_tokens max_gen_len temperature top_p top_k seed logprobs top_logprobs logit_bias echo "
    "stream_options include_usage response_format tools suffix best_of type text max_length "
    "num_beams num_return_sequences bad_words_ids eos_token_id do_sample early_stopping typical_p"
)
_KEYS = st.sampled_from(_NAMES.split())
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(max_size=8)
    | st.sampled_from(["user", "system", "assistant", "pocket", "text", "[INST]"])
)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_KEYS | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=12,
)
_TURNS = st.lists(
    st.fixed_dictionaries({"role": _SCALARS, "content": _JSON | st.text(max_size=8)}), max_size=3
)
# Bodies that begin well, so that the fuzz gets past the first check of each route.
_DIALOGS = st.fixed_dictionaries({"input_string": st.lists(_TURNS, max_size=2)})
_BODIES = _JSON | st.builds(
    lambda start, rest: {**rest, **start},
    st.sampled_from(
        [{"prompts": ["x"]}, {"prompt": "x"}, {"prompt": [1, 2]}, {"prompts": [""]}]
    )
    | st.fixed_dictionaries({"messages": _TURNS})
    | st.fixed_dictionaries({"input_data": _DIALOGS}),
    st.dictionaries(_KEYS, _JSON, max_size=6),
)  # fmt: skip


@pytest.mark.parametrize("path", [*POST_ROUTES, "/shutdown"])
def test_no_json_makes_a_server_fault(path: str) -> None:
    with AppClient(FakeService()) as client:

        @settings(
            max_examples=120,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(body=_BODIES)
        def no_fault(body: object) -> None:
            client.lifecycle.draining = False
            reply = client.post(path, json.dumps(body).encode())
            assert reply.status < 500, reply.body

        no_fault()


@pytest.mark.parametrize("path", POST_ROUTES)
def test_no_bytes_make_a_server_fault(path: str) -> None:
    with AppClient(FakeService()) as client:

        @settings(max_examples=60, deadline=None, derandomize=True)
        @given(body=st.binary(max_size=64))
        def no_fault(body: bytes) -> None:
            assert 400 <= client.post(path, body).status < 500

        no_fault()
