"""Two models of which one may be loaded, on real engines: each answers, and its process ends."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2e.berth_server import ROOT, Server, berth_serve, poll


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("several")
    shutil.copytree(ROOT / "presets/pocket/weights", folder / "models/second")
    (folder / "models/empty").mkdir()
    options = ["--models-dir", str(folder / "models"), "--max-loaded", "1", "--keep-alive", "2s"]
    with berth_serve(folder, "pocket", *options, "--device", "cpu") as server:
        yield server


def ask(server: Server, name: str) -> tuple[int, str]:
    body = {"model": name, "prompt": "The capital of France is", "max_tokens": 2}
    status, answer = server.call("/v1/completions", body)
    return status, answer["model"]


def test_models_take_turns_in_memory_and_leave_it(server: Server) -> None:
    assert server.engine_pids() == []  # ready, and nothing is loaded
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(ask, server, name) for name in ("pocket", "second") * 2]
        assert [call.result() for call in calls] == [(200, "pocket"), (200, "second")] * 2
    assert len(server.engine_pids()) == 1
    assert server.log.count("is loaded after") == 2  # one load each, whatever came in between
    assert "empty is not served" in server.log
    poll(lambda: server.engine_pids() == [], what="the end of the idle model")
    assert ask(server, "second") == (200, "second")
    assert server.call("/v1/completions", {"model": "empty", "prompt": "x"})[0] == 404
    assert server.stop() == 0
    assert server.engine_pids() == []
