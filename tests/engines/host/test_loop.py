"""What arrives is taken in before each step, what ends without a step is told, Shutdown ends it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from berth.engines.host.link import Link
from berth.engines.host.loop import Loop
from berth.protocol.messages import (
    Cancel,
    Delta,
    EngineStats,
    SamplingParams,
    Shutdown,
    StepReport,
    Submit,
    ToEngine,
)


class FakeCore:
    """Ends each request after as many steps as its max_tokens; refuses empty prompts."""

    def __init__(self) -> None:
        self.left: dict[int, int] = {}
        self.calls: list[str] = []
        self.in_step: Callable[[], None] = lambda: None

    @property
    def has_work(self) -> bool:
        return bool(self.left)

    def submit(self, message: Submit) -> StepReport | None:
        self.calls.append(f"submit {message.request_id}")
        if not message.prompt:
            return StepReport([Delta(message.request_id, [], "error")], self.stats())
        self.left[message.request_id] = message.params.max_tokens
        return None

    def cancel(self, request_ids: list[int]) -> None:
        self.calls.append(f"cancel {request_ids}")
        for request_id in request_ids:
            self.left.pop(request_id, None)

    def step(self) -> StepReport | None:
        self.calls.append(f"step {sorted(self.left)}")
        self.in_step()
        deltas = [Delta(id_, [1], "length") for id_, left in self.left.items() if left == 1]
        self.left = {id_: left - 1 for id_, left in self.left.items() if left > 1}
        return StepReport(deltas, self.stats()) if deltas else None

    def stats(self) -> EngineStats:
        return EngineStats(running=len(self.left))


class FakeLink:
    def __init__(self, *messages: ToEngine) -> None:
        self.inbox: queue.SimpleQueue[ToEngine] = queue.SimpleQueue()
        self.sent: list[StepReport] = []
        for message in messages:
            self.inbox.put(message)

    def send(self, report: StepReport) -> None:
        self.sent.append(report)


def submit(request_id: int, steps: int = 1, prompt: tuple[int, ...] = (5,)) -> Submit:
    return Submit(request_id, list(prompt), SamplingParams(max_tokens=steps))


def serve(core: FakeCore, link: FakeLink, **settings: Any) -> None:
    Loop(core, cast(Link, link), **settings).run()


def shut_down_at(core: FakeCore, link: FakeLink, step: int) -> None:
    """Let the supervisor's Shutdown arrive during this step."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            link.inbox.put(Shutdown())

    core.in_step = count


def test_all_that_arrived_is_taken_in_before_a_step() -> None:
    core, link = FakeCore(), FakeLink(submit(1, 2), submit(2, 1))
    shut_down_at(core, link, 2)
    serve(core, link)
    assert core.calls == ["submit 1", "submit 2", "step [1, 2]", "step [1]"]
    assert [[delta.request_id for delta in report.deltas] for report in link.sent] == [[2], [1]]


def test_what_arrives_during_a_step_is_in_the_next() -> None:
    core, link = FakeCore(), FakeLink(submit(1, 2))
    pending: list[ToEngine] = [submit(2, 1), Shutdown()]
    core.in_step = lambda: link.inbox.put(pending.pop(0))
    serve(core, link)
    assert core.calls == ["submit 1", "step [1]", "submit 2", "step [1, 2]"]


def test_a_refused_request_is_told_at_once_and_takes_no_step() -> None:
    core, link = FakeCore(), FakeLink(submit(1, prompt=()), Shutdown())
    serve(core, link)
    assert core.calls == ["submit 1"]
    assert [delta.finish_reason for report in link.sent for delta in report.deltas] == ["error"]


@pytest.mark.parametrize(("cancelled", "told"), [([1], []), ([1, 2], [0])])
def test_a_cancel_is_told_by_a_report_of_its_own_only_if_no_step_follows(
    cancelled: list[int], told: list[int]
) -> None:
    core = FakeCore()
    link = FakeLink(submit(1, 9), submit(2, 9), Cancel(cancelled), Shutdown())
    serve(core, link)
    assert [report.stats.running for report in link.sent] == told


def test_shutdown_ends_it_whatever_is_running() -> None:
    core, link = FakeCore(), FakeLink(submit(1, 9))
    shut_down_at(core, link, 3)
    serve(core, link)
    assert core.calls.count("step [1]") == 3


def test_an_error_of_the_core_ends_the_loop() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    core, link = FakeCore(), FakeLink(submit(1))
    core.in_step = fail
    with pytest.raises(ZeroDivisionError):
        serve(core, link)


def test_an_idle_loop_gives_a_sign_of_life_until_something_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("berth.engines.host.loop._IDLE_SECONDS", 0.01)
    core, link = FakeCore(), FakeLink()
    seen = threading.Event()
    signs = 0

    def idle() -> None:
        nonlocal signs
        signs += 1
        if signs == 3:
            seen.set()

    thread = threading.Thread(target=serve, args=(core, link), kwargs={"idle": idle})
    thread.start()
    assert seen.wait(10)
    link.inbox.put(Shutdown())
    thread.join(10)
    assert not thread.is_alive()
    assert core.calls == []


def test_a_long_step_can_give_the_others_their_turn() -> None:
    """As generate does, between two of its tokens."""
    core, link = FakeCore(), FakeLink(submit(1, 2))
    loop = Loop(core, cast(Link, link))
    inner = iter([submit(2, 1), Shutdown()])

    def between() -> None:
        message = next(inner, None)
        if message is not None:
            link.inbox.put(message)
            loop.turn()

    core.in_step = between
    loop.run()
    assert core.calls == ["submit 1", "step [1]", "submit 2", "step [1, 2]"]
