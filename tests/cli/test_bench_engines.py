"""A contender that dies, hangs or cheats fails alone, and the benchmark goes on."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks import engines, procfs
from benchmarks.engines import Failed, HttpServer, Transformers
from benchmarks.model_folder import model_folder
from benchmarks.procfs import cpu_seconds, family_cpu_seconds
from benchmarks.shapes import SHAPES
from cli.double import Double, serving

WORKER = """
import json, sys, time
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    prompts, n = asked["prompts"], asked["output_tokens"]
    if prompts[0][0] == 666: sys.exit(3)
    if prompts[0][0] == 667: time.sleep(60)
    if prompts[0][0] == 668: print(json.dumps({"error": "out of memory"}), flush=True); continue
    times = [[0.5 + 0.25 * i for i in range(n)] for _ in prompts]
    print(json.dumps({"seconds": times[0][-1] + 0.25, "times": times}), flush=True)
"""


@pytest.fixture
def worker(tmp_path: Path) -> Transformers:
    double = Transformers("generate", tmp_path, "cpu", tmp_path / "log")
    double._command = [sys.executable, "-c", WORKER]
    return double


def test_waves_follow_each_other_without_what_passes_between_them(worker: Transformers) -> None:
    assert worker.start() > 0.5
    figures = worker.run([[1], [2], [3], [4]], 5, concurrency=2)
    worker.stop()
    assert figures.seconds == 2 * 1.75
    assert figures.output_tokens == 20
    assert figures.tokens_per_second == 20 / 3.5
    assert figures.ttft is not None
    assert figures.ttft.p99 == 0.5, "each wave's clock starts with the wave"
    assert figures.inter_token is not None
    assert figures.inter_token.p50 == 0.25


def test_a_worker_that_died_is_started_again_for_the_next_run(worker: Transformers) -> None:
    worker.start()
    with pytest.raises(Failed, match="ended with status 3"):
        worker.run([[666]], 2, 1)
    assert worker.run([[1]], 2, 1).output_tokens == 2
    with pytest.raises(Failed, match="out of memory"):
        worker.run([[668]], 2, 1)
    assert worker.run([[1]], 2, 1).output_tokens == 2
    worker.stop()


def test_a_worker_that_hangs_is_given_up(
    worker: Transformers, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.start()
    monkeypatch.setattr(engines, "RUN_SECONDS", 0.3)
    with pytest.raises(Failed, match=r"no answer within 0\.3 s"):
        worker.run([[667]], 2, 1)
    worker.stop()


def test_a_paused_worker_stands_still_and_goes_on_afterwards(worker: Transformers) -> None:
    worker.start()
    worker.pause()
    assert worker._process is not None
    deadline = time.monotonic() + 10
    while procfs._stat(worker._process.pid)[0] != "T":
        assert time.monotonic() < deadline
    worker.resume()
    assert worker.run([[1]], 2, 1).output_tokens == 2
    worker.stop()


def test_a_server_that_answers_less_than_asked_has_no_figure() -> None:
    with serving(Double(counts_tokens=False, tokens_per_event=2)) as double:
        server = HttpServer("peer", double.url)
        with pytest.raises(Failed, match="2 answers were shorter than 8 tokens"):
            server.run([[1], [2]], 8, 2)


def test_a_server_that_fails_some_requests_has_no_figure() -> None:
    with serving(Double(cut_after=1)) as double:
        server = HttpServer("peer", double.url)
        with pytest.raises(Failed, match="2 of 2 requests failed"):
            server.run([[1], [2]], 8, 2)


def test_cpu_time_is_this_process_and_its_familys() -> None:
    before, own = cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() - own < 0.1:
        sum(range(10_000))
    assert 0.05 < cpu_seconds(os.getpid()) - before < 1
    alone = cpu_seconds(os.getpid())  # read first: the clock goes on
    assert family_cpu_seconds(os.getpid()) >= alone


def test_a_shapes_folder_is_made_once_and_readable_by_both_sides(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer

    from berth.checkpoint.folder import load_config
    from berth.tokenizer.files import load_tokenizer

    shape = SHAPES["tiny"]
    folder = model_folder(shape, tmp_path)
    weights = (folder / "model.safetensors").stat()
    assert model_folder(shape, tmp_path) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == weights.st_mtime_ns
    assert list(tmp_path.iterdir()) == [folder], "nothing unfinished is left"
    ours, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    assert ours.vocab_size == len(theirs) == shape.vocabulary
    assert ours.encode("any words", bos=False) == theirs.encode("any words")
    config = AutoConfig.from_pretrained(folder)
    assert (config.vocab_size, config.num_key_value_heads) == (512, 2)
    assert load_config(folder).num_layers == shape.layers
