"""The real process behind its socket, as a supervisor sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from berth.protocol.messages import (
    Cancel,
    Fatal,
    GenerateParams,
    Loading,
    SamplingParams,
    Shutdown,
    StepReport,
    Submit,
)
from engines.host.supervised import alive, engine, poll
from engines.transformers.tiny_models import EOS, generate_alone, random_prompt, save_model

MODULE = "berth.engines.transformers"
PROMPTS = [random_prompt(i, 3 + 5 * (i % 9)) for i in range(16)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("falcon")
    save_model(path, "falcon-7b")
    return path


def test_sixteen_at_once_say_the_same_as_alone_and_a_shutdown_ends_it(
    folder: Path, tmp_path: Path
) -> None:
    model = save_model(tmp_path / "same", "falcon-7b")
    want = [generate_alone(model, prompt, 16) for prompt in PROMPTS]
    with engine(folder, tmp_path, module=MODULE) as running:
        loading = running.wait_for(Loading)
        assert loading.total == (folder / "model.safetensors").stat().st_size
        ready = running.ready()
        assert (ready.engine, ready.architecture) == ("transformers", "FalconForCausalLM")
        assert (ready.vocab_size, ready.max_model_len) == (96, 256)
        assert ready.generates
        assert ready.weight_bytes == pytest.approx(loading.total, rel=0.2)
        assert running.generate(PROMPTS, stop_token_ids=(EOS,)) == want
        running.send(Shutdown())
        assert running.process.wait(60) == 0


def test_cancelled_requests_are_silent_and_free_their_memory(folder: Path, tmp_path: Path) -> None:
    endless = SamplingParams(max_tokens=200, temperature=0.0)
    with engine(folder, tmp_path, module=MODULE) as running:
        running.ready()
        running.send(Submit(1, PROMPTS[1], endless))
        running.send(Submit(2, PROMPTS[2], SamplingParams(max_tokens=150, temperature=0.0)))
        running.send(Submit(3, PROMPTS[3], endless, generate=GenerateParams(num_beams=3)))
        running.wait_for(StepReport)
        running.send(Cancel([1, 3]))
        seen: list[Any] = []
        while not seen or seen[-1].deltas[0].finish_reason is None:
            report = running.wait_for(StepReport)
            if report.deltas:
                seen.append(report)
        assert {delta.request_id for delta in seen[-1].deltas} == {2}
        assert 3 not in {delta.request_id for report in seen for delta in report.deltas}
        assert seen[-1].stats.running == 0
        assert seen[-1].stats.blocks_used == 0


def test_beams_beat_the_pulse_and_do_not_stop_it_from_ending(folder: Path, tmp_path: Path) -> None:
    wish = SamplingParams(max_tokens=240, temperature=0.0)
    with engine(folder, tmp_path, module=MODULE, heartbeat_seconds=0.05) as running:
        running.ready()
        idle = running.heartbeats[0].work
        running.send(Submit(1, PROMPTS[0], wish, generate=GenerateParams(num_beams=8)))
        poll(lambda: running.heartbeats[0].busy and running.heartbeats[0].work > idle + 100)
        running.send(Shutdown())
        assert running.process.wait(60) == 0


def test_an_engine_whose_server_died_ends_itself(folder: Path, tmp_path: Path) -> None:
    with engine(folder, tmp_path, module=MODULE) as running:
        running.ready()
        running.sockets[0].shutdown(2)
        poll(lambda: not alive(running.pids[0]), 30)


def test_what_it_cannot_load_is_said_once_and_not_tried_again(folder: Path, tmp_path: Path) -> None:
    with engine(folder, tmp_path, module=MODULE, load_in_8bit=True) as running:
        fatal = running.wait_for(Fatal)
        assert "load_in_8bit needs an NVIDIA GPU" in fatal.reason
        assert not fatal.retry
        assert running.process.wait(60) != 0
