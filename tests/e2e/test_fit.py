"""The engine sizes itself by fit, shows what it reckoned, and refuses what cannot fit."""

from __future__ import annotations

from pathlib import Path

from berth.kernels.batch import BLOCK
from e2e.berth_server import berth_serve, poll
from e2e.random_model import random_model


def test_what_was_reckoned_stands_beside_what_is_measured(tmp_path: Path) -> None:
    folder = random_model(tmp_path / "model", num_layers=3, max_position=256)
    arguments = ["--threads", "1", "--dtype", "float32", "--max-num-seqs", "4"]
    with berth_serve(tmp_path, str(folder), *arguments) as server:
        server.call("/generate", {"prompts": ["Hello"], "parameters": {"max_gen_len": 8}})
        status, report = server.call("/v1/berth/fit")
        assert status == 200
        assert report["blocks"] == 4 * 256 // BLOCK  # four sequences at their longest
        # Two of key and value, layers, kv heads, head size, four bytes: tests/models/checkpoints.
        assert report["estimated"]["kv cache"] == report["blocks"] * 2 * 3 * 4 * 8 * BLOCK * 4
        assert report["estimated_bytes"] == sum(report["estimated"].values())
        assert report["measured_bytes"] > 0
        _, metrics = server.call("/metrics")
        assert 'berth_fit_estimated_bytes{model_name="model",term="kv cache"}' in metrics
        assert "berth_fit_measured_bytes" in metrics


def test_a_cache_without_room_for_a_block_is_refused_with_the_terms(tmp_path: Path) -> None:
    folder = random_model(tmp_path / "model")
    with berth_serve(tmp_path, str(folder), "--kv-cache-memory", "1K", wait=False) as server:
        poll(lambda: server.process.poll() is not None, what="the refusal")
        assert server.process.returncode == 1
        assert "the model does not fit" in server.log
        assert "kv cache: " in server.log
        assert "weights: " in server.log
        assert "Traceback" not in server.log
