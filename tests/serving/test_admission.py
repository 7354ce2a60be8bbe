"""What may come in, asked of the door alone: no engine is started, none is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from berth.protocol.config import EngineConfig
from berth.protocol.messages import Ready
from berth.serving.admission import Admission
from berth.serving.errors import InvalidRequest, Overloaded
from berth.serving.open_model import open_model
from berth.serving.prompt import Prompt
from berth.serving.request import PLAINLY, Message, Options

READY = Ready(
    engine="native", architecture="llama", vocab_size=300, max_model_len=64, max_num_seqs=2,
    block_size=16, blocks_total=8, dtype="float32", device="cpu", degree=1, weight_bytes=1,
    kv_bytes=1, load_seconds=1.0,
)  # fmt: skip


@pytest.fixture
def door(meta_model: Path) -> Admission:
    config = open_model(
        EngineConfig(model=str(meta_model), socket="", max_model_len=64),
        model_id="tiny",
        max_waiting=3,
    )
    return Admission(config)


def test_a_request_is_admitted_with_what_the_engine_and_its_reader_need(door: Admission) -> None:
    admitted = door.admit(Prompt([1, 5]), Options(max_tokens=7), READY, active=0)
    assert admitted.prompt.ids == [1, 5]
    assert admitted.params.max_tokens == 7
    assert len(admitted.outputs) == 1


def test_a_text_is_encoded_with_its_beginning_and_a_dialog_in_the_models_template(
    door: Admission,
) -> None:
    ids = door.encode("Hello").ids
    assert ids[0] == 1
    assert len(ids) > 1
    dialog = door.render_chat([Message("user", "Hello")], PLAINLY)
    assert len(dialog.ids) > len(ids)  # with the template's own tags


def test_what_the_context_cannot_hold_is_refused_before_it_is_encoded(door: Admission) -> None:
    with pytest.raises(InvalidRequest) as refused:
        door.encode("Hello " * 10_000)
    assert refused.value.code == "context_length_exceeded"


def test_a_token_beyond_the_vocabulary_is_refused(door: Admission) -> None:
    with pytest.raises(InvalidRequest):
        door.admit(Prompt([1, 300]), Options(), READY, active=0)


@pytest.mark.parametrize(("active", "admitted"), [(4, True), (5, False), (9, False)])
def test_as_many_are_taken_as_run_and_may_wait(
    door: Admission, active: int, admitted: bool
) -> None:
    if admitted:
        door.admit(Prompt([1, 5]), Options(), READY, active=active)
        return
    with pytest.raises(Overloaded, match="already has 5 requests") as refused:
        door.admit(Prompt([1, 5]), Options(), READY, active=active)
    assert refused.value.retry_after == 1.0  # no pace is known yet


def test_when_to_come_again_follows_the_pace_and_is_bounded(door: Admission) -> None:
    for now in (10.0, 14.0, 18.0):  # one ends every four seconds, and three may wait
        door.ended(now)
    with pytest.raises(Overloaded) as refused:
        door.admit(Prompt([1, 5]), Options(), READY, active=5)
    assert refused.value.retry_after == 6.0
    door.ended(10_000.0)
    with pytest.raises(Overloaded) as refused:
        door.admit(Prompt([1, 5]), Options(), READY, active=5)
    assert refused.value.retry_after == 60.0


def test_a_wrong_parameter_is_said_before_a_full_queue_is(door: Admission) -> None:
    with pytest.raises(InvalidRequest):
        door.admit(Prompt([1, 5]), Options(temperature=-1.0), READY, active=9)
