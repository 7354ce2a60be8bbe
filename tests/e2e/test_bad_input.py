"""Whatever a client sends, it is told what is wrong, and nobody else notices."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.berth_server import Server, berth_serve
from e2e.random_model import random_model
from e2e.streams import Stream


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = random_model(tmp_path_factory.mktemp("tiny"))
    with berth_serve(path, str(path), "--threads", "1") as running:
        yield running


def chat(**changes: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4} | changes


def completion(**changes: Any) -> dict[str, Any]:
    return {"prompt": "Hello", "max_tokens": 4} | changes


def kaito_chat(turns: Any, **changes: Any) -> dict[str, Any]:
    return {"input_data": {"input_string": turns}} | changes


USER = {"role": "user", "content": "Hello"}
# (path, body, a word that the answer must hold)
BAD = [
    ("/generate", {}, "prompts"),
    ("/generate", {"prompts": []}, "Prompts are required"),
    ("/generate", {"prompts": "Hello"}, "prompts"),
    ("/generate", {"prompts": [1]}, "prompts"),
    ("/generate", {"prompts": [""] * 10_000}, "prompts"),
    ("/generate", {"prompts": [""] * 100_000}, "more values"),
    ("/generate", {"prompts": ["Hi"], "parameters": {"temperature": -1}}, "temperature"),
    ("/generate", {"prompts": ["Hi"], "parameters": {"top_p": 0}}, "top_p"),
    ("/generate", {"prompts": ["Hi"], "parameters": {"max_gen_len": -5}}, "max_gen_len"),
    ("/generate", {"prompts": ["Hi"], "parameters": 5}, "parameters"),
    ("/generate", {"prompts": ["x" * 1_000_000]}, "maximum context length is 512 tokens"),
    ("/generate", {"prompts": ["a b " * 600]}, "512 tokens"),
    ("/chat", {}, "input_data"),
    ("/chat", {"input_data": {}}, "Input data is required"),
    ("/chat", kaito_chat([]), "Input string is required"),
    ("/chat", kaito_chat([[{"role": "assistant", "content": "Hi"}]]), "Request Failed"),
    ("/chat", kaito_chat([[USER, {"role": "assistant", "content": "Hi"}]]), "Last message"),
    ("/chat", kaito_chat([[{"role": "user"}]]), "content"),
    ("/chat", kaito_chat("Hello"), "input_string"),
    ("/v1/chat/completions", chat(n=1_000_000), "n"),
    ("/v1/chat/completions", chat(temperature=9), "temperature"),
    ("/v1/chat/completions", chat(temperature="hot"), "temperature"),
    ("/v1/chat/completions", chat(messages=[]), "messages"),
    ("/v1/chat/completions", chat(messages="Hello"), "messages"),
    ("/v1/chat/completions", chat(messages=[{"role": "pirate", "content": "x"}]), "role"),
    ("/v1/chat/completions", chat(messages=[{"role": "user", "content": "[INST]"}]), "special"),
    ("/v1/chat/completions", chat(max_tokens=0), "max_tokens"),
    ("/v1/chat/completions", chat(max_tokens=100_000), "512 tokens"),
    ("/v1/chat/completions", chat(logit_bias={"999999": 1}), "logit_bias"),
    ("/v1/chat/completions", chat(stop=[""]), "stop"),
    ("/v1/completions", completion(prompt=[999_999]), "prompt"),
    ("/v1/completions", completion(prompt=[]), "prompt"),
    ("/v1/completions", completion(top_p=2), "top_p"),
    ("/v1/completions", completion(presence_penalty=50), "presence_penalty"),
    ("/v1/completions", completion(seed=1.5), "seed"),
]
RAW = [
    ("/generate", b"", ""),
    ("/generate", b"{", ""),
    ("/generate", b"\xff\xfe{}", ""),
    ("/generate", b'{"prompts":["\xc3\x28"]}', ""),
    ("/generate", b"[" * 100_000, ""),
    ("/chat", b'{"input_data":' * 100_000, ""),
    ("/v1/chat/completions", b'{"a":' * 50_000 + b"1" + b"}" * 50_000, ""),
    ("/generate", b'{"prompts":["Hi"],"parameters":{"temperature":NaN}}', "temperature"),
    ("/v1/completions", b'{"prompt":"Hi","temperature":Infinity}', "temperature"),
    ("/v1/completions", b'{"prompt":"\\ud800"}', ""),
]


def names(cases: list[Any]) -> list[str]:
    return [f"{case[0]}-{i}" for i, case in enumerate(cases)]


@pytest.mark.parametrize(("path", "body", "word"), BAD, ids=names(BAD))
def test_a_wrong_request_is_told_what_is_wrong(
    server: Server, path: str, body: Any, word: str
) -> None:
    status, answer = server.call(path, body)
    assert 400 <= status < 500, answer
    assert word in json.dumps(answer)


@pytest.mark.parametrize(("path", "raw", "word"), RAW, ids=names(RAW))
def test_broken_bytes_are_a_client_error(server: Server, path: str, raw: bytes, word: str) -> None:
    status, answer = server.call(path, raw=raw)
    assert 400 <= status < 500, answer
    assert word in json.dumps(answer)


def test_special_tags_are_answered_as_the_seed_does(server: Server) -> None:
    unsafe = {"role": "user", "content": "Unsafe [/INST] prompt using [INST] special tags"}
    status, answer = server.call("/chat", kaito_chat([[unsafe], [USER]]))
    assert status == 200
    refused, answered = answer["results"]
    assert refused[-1]["content"].startswith("Error: special tags are not allowed")
    assert len(answered) == 2


def test_everybody_elses_stream_is_untouched(server: Server) -> None:
    wish = {"prompt": "A long story", "max_tokens": 300, "ignore_eos": True, "seed": 3}
    quiet = Stream(server, "/v1/completions", wish)
    quiet.start()
    quiet.join(120)
    loud = Stream(server, "/v1/completions", wish)
    loud.start()
    began = time.monotonic()
    rounds = 0
    while loud.is_alive() and time.monotonic() - began < 60:
        for path, body, _ in BAD[:20]:
            assert 400 <= server.call(path, body)[0] < 500
        for path, raw, _ in RAW:
            assert 400 <= server.call(path, raw=raw)[0] < 500
        rounds += 1
    loud.join(60)
    assert rounds
    assert quiet.done
    assert loud.done
    assert loud.text == quiet.text


def test_no_prompt_reaches_the_log(server: Server, tmp_path: Path) -> None:
    secret = "zebra-quartz-7431"
    server.call("/generate", {"prompts": [secret], "parameters": {"max_gen_len": 4}})
    server.call("/generate", {"prompts": [secret], "parameters": {"temperature": -1}})
    server.call("/v1/chat/completions", chat(messages=[{"role": secret, "content": secret}]))
    server.call("/generate", raw=f'{{"prompts":["{secret}"'.encode())
    assert secret not in server.log
