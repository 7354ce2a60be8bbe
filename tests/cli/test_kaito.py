"""KAITO's launch lines: the first copy on a node serves, the others live as long as it does."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from berth.cli.kaito import follow, meeting_place, parse_accelerate, serve_arguments

SCRIPT = Path(__file__).parents[2] / "presets/llama-2/inference-api.py"
GIVEN = ["--max_seq_len=512", "--max_batch_size=8"]


def test_one_copy_is_one_rank() -> None:
    environment = {"WORLD_SIZE": "1", "BERTH_WEIGHTS": "/weights"}
    assert serve_arguments(GIVEN, environment) == ["--degree", "1", *GIVEN]


def test_outside_of_the_image_the_weights_are_where_kaito_has_them() -> None:
    assert serve_arguments(GIVEN, {}) == ["--ckpt_dir", "weights/", *GIVEN]


def test_several_nodes_meet_at_the_first() -> None:
    environment = {
        "WORLD_SIZE": "8",
        "LOCAL_WORLD_SIZE": "4",
        "GROUP_WORLD_SIZE": "2",
        "GROUP_RANK": "1",
        "MASTER_ADDR": "ws-0.ws-headless",
        "MASTER_PORT": "40000",
        "BERTH_WEIGHTS": "/weights",
    }
    assert serve_arguments([], environment) == [
        *("--degree", "8", "--nnodes", "2", "--node-rank", "1"),
        *("--rdzv-endpoint", "ws-0.ws-headless:29501"),
    ]


def copies(*first: str) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
    """The script as torchrun starts it twice on a node; the first one runs `first` instead of a
    server."""
    shared = {
        **os.environ,
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "TORCHELASTIC_RUN_ID": uuid.uuid4().hex,
        "BERTH_WEIGHTS": "/nonexistent",
    }
    leader, follower = (
        subprocess.Popen(
            [sys.executable, str(SCRIPT), *(first if rank == "0" else ())],
            env={**shared, "LOCAL_RANK": rank, "RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ("0", "1")
    )
    return leader, follower


def test_the_others_end_with_the_first_whatever_became_of_it() -> None:
    leader, follower = copies()
    assert leader.wait(60) == 2
    assert leader.stdout is not None
    assert "there are no weights in /nonexistent" in " ".join(leader.stdout.read().split())
    # Ended first, or never met: torchrun sees the leader's status either way.
    follower.terminate() if follower.poll() is None else None
    follower.wait(60)


def test_a_copy_waits_for_as_long_as_the_first_lives() -> None:
    place = meeting_place({"TORCHELASTIC_RUN_ID": uuid.uuid4().hex})
    program = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX);"
        f"s.bind({place!r}); s.listen(1); print('up', flush=True); sys.stdin.read()"
    )
    leader = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert leader.stdout is not None
    assert leader.stdout.readline() == "up\n"
    waiter = subprocess.Popen(
        [sys.executable, "-c", f"from berth.cli.kaito import follow; exit(follow({place!r}))"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with pytest.raises(subprocess.TimeoutExpired):
        waiter.wait(1)
    leader.kill()
    leader.wait(30)
    assert waiter.wait(30) == 0


def test_a_first_copy_that_never_comes_up_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert follow(meeting_place({"TORCHELASTIC_RUN_ID": uuid.uuid4().hex}), patience=0.3) == 1
    assert "has not started" in capsys.readouterr().err


def test_kaitos_accelerate_line_starts_the_script() -> None:
    line = (
        "launch --use_deepspeed --config_file=config.yaml --num_processes=1 --num_machines=1 "
        "--machine_rank=0 --gpu_ids=all inference-api.py --load_in_8bit"
    )
    assert parse_accelerate(line.split()) == ("inference-api.py", ["--load_in_8bit"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("launch --num_processes=2 inference-api.py", "--num_processes should be 1, not '2'"),
        ("launch --num_machines 3 inference-api.py", "--num_machines should be 1, not '3'"),
        ("launch --num_processes=1", "no Python script"),
        ("config", "only knows `accelerate launch"),
    ],
)
def test_what_it_cannot_do_is_refused_in_a_sentence(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_accelerate(line.split())
