"""The seed's own curl calls, word for word, against `berth serve`: alone and on two ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.berth_server import Server, berth_serve, code_blocks, free_port, poll, run_shell

SEED = (Path(__file__).parent / "seeds" / "kaito-llama-2.md").read_text()
CURLS = [block for block in code_blocks(SEED) if block.startswith("curl")]
UNSAFE = "Error: special tags are not allowed as part of the prompt."


def port_5000() -> int:
    """The seed's own port where nobody has it, else another one."""
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 5000))
        except OSError:
            return free_port()
        return 5000


@pytest.fixture(scope="module", params=[1, 2], ids=["one-rank", "torchrun-two-ranks"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    # Two processes of one BLAS thread each: the tests' machine has two cores.
    arguments = ["--degree", str(request.param), "--threads", "1", "--allow-shutdown"]
    with berth_serve(tmp_path_factory.mktemp("seed"), *arguments, port=port_5000()) as running:
        yield running


def curl(server: Server, word: str, nth: int = 0) -> Any:
    """Run the nth of the seed's calls whose command holds `word`."""
    command = [c for c in CURLS if word in c][nth]
    assert "localhost:5000" in command
    return json.loads(run_shell(command.replace("localhost:5000", f"localhost:{server.port}")))


def test_the_document_has_the_calls_that_we_think_it_has() -> None:
    assert len(CURLS) == 7
    assert [c for c in CURLS if c == "curl http://localhost:5000/"]


def test_server_health(server: Server) -> None:
    command = next(c for c in CURLS if c == "curl http://localhost:5000/")
    answer = run_shell(command.replace(":5000", f":{server.port}"))
    assert json.loads(answer) == ["Server is running", 200]


def test_model_health(server: Server) -> None:
    assert curl(server, "/healthz") == {"status": "Healthy"}


def test_complete_text(server: Server) -> None:
    results = curl(server, "/generate")["results"]
    assert [set(result) for result in results] == [{"prompt", "response"}] * 4
    assert results[0]["prompt"] == "I believe the meaning of life is"
    for result in results:
        assert result["response"].strip()
        assert not result["response"].startswith(result["prompt"])


def test_chat_of_four_dialogs(server: Server) -> None:
    mayonnaise, haiku, emojis, unsafe = curl(server, "/chat", 0)["results"]
    assert [turn["role"] for turn in mayonnaise] == ["User", "Assistant"]
    assert [turn["role"] for turn in haiku] == ["System", "User", "Assistant"]
    assert "egg" in mayonnaise[-1]["content"]
    assert len(haiku[-1]["content"].strip().splitlines()) == 3
    assert any(ord(letter) > 0x2000 for letter in emojis[-1]["content"])
    assert unsafe[-1] == {"role": "Assistant", "content": UNSAFE}


def test_chat_with_history_and_nested_parameters(server: Server) -> None:
    (dialog,) = curl(server, "/chat", 1)["results"]
    assert [turn["role"] for turn in dialog] == ["User", "Assistant", "User", "Assistant"]
    assert dialog[2]["content"] == "What is so great about its art?"
    assert dialog[3]["content"].strip()


def test_chat_with_a_system_prompt(server: Server) -> None:
    (dialog,) = curl(server, "/chat", 2)["results"]
    assert dialog[1]["content"] == "Write a brief birthday message to John"
    assert "John" in dialog[2]["content"]


def test_shutdown_ends_server_and_engine(server: Server) -> None:
    """Last in this file: the server is gone after it."""
    ranks = server.engine_pids()
    assert ranks
    assert curl(server, "/shutdown") == {}
    assert server.process.wait(60) == 0
    poll(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ranks), what="the ranks' end")
