"""Two nodes share one model: clients talk to the first, probes to both."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from e2e.berth_server import berth_serve, free_port, poll
from e2e.random_model import random_model

WISH = {"prompts": ["The quick brown", "What is"], "parameters": {"temperature": 0}}


def test_a_worker_node_answers_only_probes_and_a_lost_rank_restarts_both(tmp_path: Path) -> None:
    folder = random_model(tmp_path / "model")
    with berth_serve(tmp_path, str(folder), "--dtype", "float32") as alone:
        _, want = alone.call("/generate", WISH)
    # --max_seq_len and the like are KAITO's own spellings.
    nodes = ["--degree", "2", "--nnodes", "2", "--threads", "1", "--dtype", "float32"]
    nodes += ["--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--max_seq_len", "512"]
    with (
        berth_serve(tmp_path, str(folder), *nodes, "--node-rank", "1", wait=False) as worker,
        berth_serve(tmp_path, str(folder), *nodes, "--node-rank", "0") as first,
    ):
        poll(worker.is_ready, what="the worker's readiness")
        assert worker.call("/healthz") == (200, {"status": "Healthy"})
        assert worker.call("/generate", WISH)[0] == 404
        assert worker.call("/v1/models")[0] == 404
        assert first.call("/generate", WISH) == (200, want)
        (rank,) = worker.engine_pids()
        os.kill(rank, signal.SIGKILL)
        poll(lambda: not first.is_ready(), 20, "the first node noticing")
        poll(first.is_ready, what="the restart")
        assert first.call("/generate", WISH) == (200, want)
        assert worker.stop() == 0
        assert first.stop() == 0
