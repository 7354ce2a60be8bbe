"""Clients in other languages against `berth serve`: Java's HttpClient, curl's offer of HTTP/2."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.berth_server import Server, berth_serve

CLIENT = Path(__file__).parent / "JavaClient.java"
CHAT = {
    "model": "pocket",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "temperature": 0,
    "max_tokens": 8,
}
GENERATE = {"prompts": ["2 + 2 ="], "parameters": {"max_gen_len": 4, "temperature": 0}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with berth_serve(tmp_path_factory.mktemp("clients"), "--threads", "1") as running:
        yield running


@pytest.mark.skipif(
    shutil.which("javac") is None, reason="no JDK here (Debian: openjdk-17-jdk-headless)"
)
def test_javas_http_client_with_its_defaults_is_answered(server: Server) -> None:
    asked = [("/livez", ""), ("/v1/chat/completions", json.dumps(CHAT)),
             ("/generate", json.dumps(GENERATE)),
             ("/v1/chat/completions", json.dumps({**CHAT, "stream": True}))]  # fmt: skip
    arguments = [word for pair in asked for word in pair]
    done = subprocess.run(
        ["java", str(CLIENT), server.url, *arguments],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = [line.split(" ", 2) for line in done.stdout.splitlines()]
    assert [(version, status) for version, status, _ in shown] == [("HTTP_1_1", "200")] * 7
    _, chat, chat_chunked, text, text_chunked, stream, stream_chunked = [one[2] for one in shown]
    content = json.loads(chat)["choices"][0]["message"]["content"]
    assert "Paris" in content
    assert json.loads(chat_chunked)["choices"][0]["message"]["content"] == content
    assert json.loads(text)["results"] == json.loads(text_chunked)["results"]
    assert stream.endswith("data: [DONE]\\n\\n")
    assert stream_chunked.endswith("data: [DONE]\\n\\n")


def test_curls_offer_of_http_2_is_answered_as_http_1(server: Server) -> None:
    features = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True)
    if "HTTP2" not in features.stdout:
        pytest.skip("this curl was built without HTTP/2")
    done = subprocess.run(
        ["curl", "-sS", "--http2", "-w", "\n%{http_version} %{http_code}", "-X", "POST",
         "-d", json.dumps(GENERATE), f"{server.url}/generate"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    body, _, status = done.stdout.rpartition("\n")
    assert status == "1.1 200"
    assert json.loads(body)["results"][0]["prompt"] == "2 + 2 ="
