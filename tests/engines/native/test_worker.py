"""Real engine processes: alone and as two ranks under torchrun."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from berth.protocol.messages import (
    Cancel,
    Fatal,
    Heartbeat,
    SamplingParams,
    Shutdown,
    StepReport,
    Submit,
)
from engines.host.supervised import alive, engine, poll
from engines.native.harness import Engine, random_prompt
from models.checkpoints import save_transformers, tiny_config, write_meta
from models.packed import pack

PROMPTS = [random_prompt(i, 3 + 5 * (i % 9)) for i in range(32)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama")
    save_transformers(path, "llama", seed=5)
    return path


@pytest.fixture(scope="module")
def alone(folder: Path) -> list[list[int]]:
    """What each prompt gives by itself, on one rank."""
    inside = Engine(folder, prefix_caching=False)
    return [inside.run(prompt) for prompt in PROMPTS]


@pytest.mark.parametrize("degree", [1, 2])
def test_greedy_text_is_the_same_at_any_degree_alone_and_among_31_others(
    folder: Path, alone: list[list[int]], tmp_path: Path, degree: int
) -> None:
    with engine(folder, tmp_path, degree=degree) as running:
        ready = running.ready(degree)
        assert ready.degree == degree
        assert running.generate(PROMPTS[:1]) == alone[:1]
        assert running.generate(PROMPTS) == alone
        running.send(Shutdown())
        assert running.process.wait(60) == 0
        poll(lambda: not any(alive(pid) for pid in running.pids.values()))


def test_packed_weights_give_the_same_text_as_two_ranks(tmp_path: Path) -> None:
    save_transformers(tmp_path / "plain", "llama", seed=5)
    pack(tmp_path / "plain", tmp_path / "packed", tmp_path / "meant", "pack-quantized")
    inside = Engine(tmp_path / "packed", prefix_caching=False)
    expected = [inside.run(prompt) for prompt in PROMPTS[:8]]
    with engine(tmp_path / "packed", tmp_path, degree=2) as running:
        running.ready(2)
        assert running.generate(PROMPTS[:8]) == expected


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        pytest.param("falcon", {}, id="falcon-7b-one-kv-head-copied"),
        pytest.param(
            "falcon",
            {"new_decoder_architecture": True, "num_kv_heads": 2, "bias": True},
            id="falcon-40b-biased",
        ),
        pytest.param(
            "falcon",
            {"multi_query": False, "alibi": True, "bias": True, "parallel_attn": False},
            id="falcon-rw",
        ),
        pytest.param("llama", {"num_key_value_heads": 1}, id="llama-one-kv-head-copied"),
        pytest.param("phi3", {"partial_rotary_factor": 0.5}, id="phi-3-half-rotated"),
        pytest.param("gemma2", {"sliding_window": 12}, id="gemma-2"),
        pytest.param("gemma3_text", {"num_key_value_heads": 1}, id="gemma-3-one-kv-head-copied"),
    ],
)
def test_two_ranks_divide_or_copy_the_kv_heads_and_give_the_text_of_one(
    architecture: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    save_transformers(folder, architecture, seed=5, **changes)
    inside = Engine(folder, prefix_caching=False)
    want = [inside.run(prompt) for prompt in PROMPTS[:16]]
    model = inside.runner.model
    with engine(folder, tmp_path, degree=2) as running:
        ready = running.ready(2)
        per_block = model.cache_bytes_per_block() // (1 if model.shape.kv_heads == 1 else 2)
        assert ready.kv_bytes == ready.blocks_total * per_block
        assert running.generate(PROMPTS[:16]) == want


def test_two_ranks_run_a_meta_checkpoint_of_four_shards(tmp_path: Path) -> None:
    folder = tmp_path / "meta"
    write_meta(folder, tiny_config(max_position=256), shards=4)
    want = [Engine(folder).run(prompt) for prompt in PROMPTS[:3]]
    with engine(folder, tmp_path, degree=2) as running:
        running.ready(2)
        assert running.generate(PROMPTS[:3]) == want


def test_a_degree_that_does_not_divide_is_refused_with_those_that_do(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    save_transformers(folder, "llama", hidden_size=48, num_attention_heads=6, num_key_value_heads=3)
    with engine(folder, tmp_path, degree=2) as running:
        fatal = running.wait_for(Fatal)
        assert "3 kv heads" in fatal.reason
        assert "degrees that do: 1" in fatal.reason
        assert not fatal.retry
        assert running.process.wait(60) != 0


def test_a_rank_alone_starts_no_threads_but_its_own(folder: Path, tmp_path: Path) -> None:
    """Main, the link's two and one that computes; gloo's dozen are for ranks that have others."""
    with engine(folder, tmp_path) as running:
        running.ready()
        assert running.generate(PROMPTS[:2])
        status = Path(f"/proc/{running.pids[0]}/status").read_text()
        (threads,) = (line.split()[1] for line in status.splitlines() if line.startswith("Threads"))
        assert int(threads) <= 4


def test_an_engine_whose_server_died_ends_itself(folder: Path, tmp_path: Path) -> None:
    with engine(folder, tmp_path, degree=2) as running:
        running.ready(2)
        for connection in running.sockets.values():
            connection.shutdown(2)
        poll(lambda: not any(alive(pid) for pid in running.pids.values()), 30)


def test_cancelled_requests_are_silent_and_free_their_blocks(folder: Path, tmp_path: Path) -> None:
    with engine(folder, tmp_path) as running:
        running.ready()
        endless = SamplingParams(max_tokens=200, temperature=0.0)
        running.send(Submit(1, PROMPTS[1], endless))
        running.send(Submit(2, PROMPTS[2], endless))
        running.wait_for(StepReport)
        running.send(Cancel([1]))
        while True:
            report = running.wait_for(StepReport)
            if report.deltas[0].finish_reason:
                break
        assert [delta.request_id for delta in report.deltas] == [2]
        assert report.stats.running == 0
        assert report.stats.blocks_used == 0


def test_a_rank_stopped_in_its_tracks_falls_silent(folder: Path, tmp_path: Path) -> None:
    """What a supervisor sees: no heartbeat of that rank, no progress of the other."""
    with engine(folder, tmp_path, degree=2, heartbeat_seconds=0.1) as running:
        running.ready(2)
        os.kill(running.pids[1], signal.SIGSTOP)
        running.send(Submit(1, PROMPTS[1], SamplingParams(max_tokens=200, temperature=0.0)))
        poll(lambda: running.heartbeats[0].busy, 10)  # by then its last word has arrived
        silent = running.heartbeats[1]
        seen: list[Heartbeat] = []

        def stands_still() -> bool:
            latest = running.heartbeats[0]
            if not seen or seen[-1] is not latest:
                seen.append(latest)
            return len(seen) > 5 and all(h == latest and h.busy for h in seen[-5:])

        poll(stands_still, 10)
        assert running.heartbeats[1] is silent or running.heartbeats[1] == silent
