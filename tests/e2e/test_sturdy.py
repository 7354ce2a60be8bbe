"""Engines die, hang and are told to go; clients see whole answers."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from e2e.berth_server import Server, berth_serve, poll
from e2e.random_model import random_model
from e2e.streams import Stream

PROMPTS = [f"Once upon a time number {i} there was" for i in range(8)]
WISH = {"max_tokens": 400, "temperature": 0.8, "ignore_eos": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("tiny"), max_position=1024, num_layers=4)


def streams(server: Server) -> list[Stream]:
    return [
        Stream(server, "/v1/completions", WISH | {"prompt": prompt, "seed": 100 + i})
        for i, prompt in enumerate(PROMPTS)
    ]


def texts(server: Server) -> list[str]:
    """What the eight streams say when nothing happens."""
    running = streams(server)
    for stream in running:
        stream.start()
    for stream in running:
        stream.join(120)
        assert stream.done
    return [stream.text for stream in running]


class Watch(threading.Thread):
    """Asks /livez over and over; the longest wait for an answer, and whether all were 200."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._over = threading.Event()
        self.asked = 0
        self.bad: list[Any] = []

    def run(self) -> None:
        while not self._over.wait(0.02):
            try:
                status, _ = self._server.call("/livez", timeout=5)
                if status != 200:
                    self.bad.append(status)
            except OSError as error:
                self.bad.append(error)
            self.asked += 1

    def stop(self) -> None:
        self._over.set()
        self.join(10)


@pytest.mark.parametrize(
    ("degree", "number"),
    [(1, signal.SIGKILL), (2, signal.SIGKILL), (2, signal.SIGSTOP)],
    ids=["kill-the-engine", "kill-a-rank-of-two", "stop-a-rank-of-two"],
)
def test_a_lost_rank_in_the_middle_of_8_streams_costs_no_byte(
    folder: Path, tmp_path: Path, degree: int, number: signal.Signals
) -> None:
    arguments = [str(folder), "--degree", str(degree), "--threads", "1", "--dtype", "float32"]
    with berth_serve(tmp_path, *arguments) as server:
        want = texts(server)
        watch = Watch(server)
        watch.start()
        running = streams(server)
        for stream in running:
            stream.start()
        poll(lambda: all(len(stream.text) > 40 for stream in running), what="all streams' start")
        ranks = server.engine_pids()
        assert len(ranks) == degree
        os.kill(ranks[-1], number)
        struck = time.monotonic()
        poll(lambda: not any(Path(f"/proc/{p}").exists() for p in ranks), 20, "the group's end")
        assert time.monotonic() - struck < 7  # 5 s, and what a busy machine adds
        for stream in running:
            stream.join(120)
        watch.stop()
        assert [stream.failure for stream in running] == [None] * 8
        assert all(stream.done for stream in running)
        assert [stream.text for stream in running] == want
        assert {stream.finish_reason for stream in running} == {"length"}
        assert watch.bad == []
        assert watch.asked > 10
        _, metrics = server.call("/metrics")
        assert 'berth_engine_restarts_total{model_name="' in metrics
        assert "engine lost (1 so far)" in server.log
        assert "Once upon a time" not in server.log


def test_sigterm_finishes_what_runs_and_refuses_what_comes(folder: Path, tmp_path: Path) -> None:
    with berth_serve(tmp_path, str(folder), "--threads", "1") as server:
        want = texts(server)
        running = streams(server)
        for stream in running:
            stream.start()
        poll(lambda: all(stream.text for stream in running), what="all streams' start")
        server.process.send_signal(signal.SIGTERM)
        poll(lambda: server.call("/readyz")[0] == 503, 10, "not ready")
        status, body = server.call("/generate", {"prompts": ["Hello"]})
        assert status == 503
        assert "shutting down" in str(body)
        for stream in running:
            stream.join(60)
        assert [stream.text for stream in running] == want
        assert all(stream.done for stream in running)
        assert server.process.wait(30) == 0


def test_a_client_that_hangs_up_frees_its_blocks(folder: Path, tmp_path: Path) -> None:
    import http.client
    import json

    with berth_serve(tmp_path, str(folder), "--threads", "1") as server:
        body = {"prompt": PROMPTS[0], "max_tokens": 900, "ignore_eos": True, "stream": True}
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("POST", "/v1/completions", json.dumps(body))
        answer = connection.getresponse()
        assert answer.read(10)
        connection.sock.close() if connection.sock else None
        answer.close()
        connection.close()

        def used() -> float:
            lines = server.call("/metrics")[1].splitlines()
            return float(
                next(x for x in lines if x.startswith("vllm:kv_cache_usage_perc")).split()[-1]
            )

        poll(lambda: used() == 0.0, 10, "blocks back")
        assert "cancelled" in server.log


def test_a_killed_server_leaves_no_engine_behind(folder: Path, tmp_path: Path) -> None:
    with berth_serve(tmp_path, str(folder), "--degree", "2", "--threads", "1") as server:
        ranks = server.engine_pids()
        assert len(ranks) == 2
        server.process.kill()
        server.process.wait()
        poll(lambda: not any(Path(f"/proc/{p}").exists() for p in ranks), 20, "the ranks' end")
