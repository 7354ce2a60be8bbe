"""The work queue: each key once, one at a time, and never a hot loop."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.controller.kinds import Key
from berth.controller.queue import Pace, WorkQueue

A, B = Key("models", "a"), Key("models", "b")


@pytest.fixture
def queue() -> WorkQueue:
    return WorkQueue(random=random.Random(1))


def test_a_key_waits_once_however_often_it_is_added(queue: WorkQueue) -> None:
    for _ in range(5):
        queue.add(A, 0.0)
    assert len(queue) == 1
    assert queue.take(0.0) == A
    assert queue.take(0.0) is None


def test_the_sooner_time_counts(queue: WorkQueue) -> None:
    queue.add(A, 0.0, after=60)
    queue.add(A, 0.0, after=2)
    queue.add(A, 0.0, after=30)
    assert queue.next_at() == 2
    assert queue.take(1.9) is None
    assert queue.take(2.0) == A
    assert queue.next_at() is None


def test_no_key_is_handed_out_twice_at_a_time(queue: WorkQueue) -> None:
    queue.add(A, 0.0)
    assert queue.take(0.0) == A
    queue.add(A, 0.1)
    assert queue.take(10.0) is None
    queue.done(A, 10.0)
    assert queue.take(10.0) is None, "not at once: there is a gap"
    assert queue.take(10.2) == A


def test_two_keys_go_side_by_side(queue: WorkQueue) -> None:
    queue.add(A, 0.0)
    queue.add(B, 0.0)
    assert {queue.take(0.0), queue.take(0.0)} == {A, B}


def test_what_fails_waits_longer_each_time_up_to_a_limit(queue: WorkQueue) -> None:
    now, waits = 0.0, []
    queue.add(A, now)
    for _ in range(15):
        due = queue.next_at()
        assert due is not None
        waits.append(due - now)
        now = due
        assert queue.take(now) == A
        queue.done(A, now, failed=True)
    assert all(later > earlier * 1.1 for earlier, later in itertools.pairwise(waits[1:9]))
    assert max(waits) <= 300 * 1.25
    assert min(waits[-3:]) >= 300 * 0.75


def test_news_do_not_shorten_the_wait_of_what_failed(queue: WorkQueue) -> None:
    queue.add(A, 0.0)
    queue.take(0.0)
    queue.done(A, 0.0, failed=True)
    queue.add(A, 0.01)
    assert queue.take(0.3) is None


def test_a_success_forgets_the_failures(queue: WorkQueue) -> None:
    now = 0.0
    for failed in (True, True, True, True, False):
        queue.add(A, now)
        now = queue.next_at() or now
        queue.take(now)
        queue.done(A, now, failed=failed)
    assert queue.failures(A) == 0
    queue.add(A, now)
    assert queue.next_at() == pytest.approx(now + 0.2)


def test_the_server_s_own_wait_is_kept(queue: WorkQueue) -> None:
    queue.add(A, 0.0)
    queue.take(0.0)
    queue.done(A, 0.0, failed=True, at_least=17)
    assert queue.next_at() == 17


def test_what_always_writes_is_looked_at_ever_less_often(queue: WorkQueue) -> None:
    """Two controllers that disagree must not do so a thousand times a second."""
    now, looks = 0.0, 0
    queue.add(A, now)
    while now < 600:
        now = queue.next_at() or 600
        assert queue.take(now) == A
        queue.done(A, now, wrote=True, again=0.0)
        looks += 1
    assert looks < 30


def test_many_workspaces_share_a_rate() -> None:
    queue = WorkQueue(Pace(rate=10, burst=5), random.Random(1))
    for number in range(200):
        queue.add(Key("models", str(number)), 0.0)
    now, taken = 0.0, 0
    while now < 5.0:
        key = queue.take(now)
        if key is None:
            now = max(now, queue.next_at() or 9.0) + 1e-9
            continue
        taken += 1
        queue.done(key, now)
    assert 50 <= taken <= 56


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "take", "done", "fail", "wrote"]),
            st.sampled_from([A, B]),
            st.floats(0, 20),
        ),
        max_size=80,
    )
)
def test_nothing_that_was_added_is_lost(steps: list[tuple[str, Key, float]]) -> None:
    """Whatever is done in whatever order, a key that was added is handed out in the end."""
    queue = WorkQueue(random=random.Random(1))
    now, owed, busy = 0.0, set(), set()
    for step, key, seconds in steps:
        now += seconds
        if step == "add":
            queue.add(key, now)
            owed.add(key)
        elif step == "take":
            taken = queue.take(now)
            if taken is not None:
                assert taken not in busy
                busy.add(taken)
                owed.discard(taken)
        elif key in busy:
            busy.discard(key)
            queue.done(key, now, failed=step == "fail", wrote=step == "wrote")
            owed |= {key} if step == "fail" else set()
    for key in busy:
        queue.done(key, now)
    while owed:
        due = queue.next_at()
        assert due is not None, f"{owed} is lost"
        now = max(now, due)
        taken = queue.take(now)
        if taken is not None:
            owed.discard(taken)
            queue.done(taken, now)


def test_a_failure_that_passes_by_itself_is_tried_again_within_its_time() -> None:
    queue, key = WorkQueue(), Key("models", "llama")
    now = 0.0
    for _ in range(8):
        queue.add(key, now)
        due = queue.next_at()
        assert due is not None
        now = due
        assert queue.take(now) == key
        queue.done(key, now, failed=True, at_least=1.0, at_most=1.5)
        again = queue.next_at()
        assert again is not None
        assert 0.999 < again - now < 1.501


def test_what_failed_in_an_outage_does_not_wait_when_it_is_over() -> None:
    queue, key = WorkQueue(), Key("models", "llama")
    now = 0.0
    for _ in range(10):
        queue.add(key, now)
        due = queue.next_at()
        assert due is not None
        now = due
        queue.take(now)
        queue.done(key, now, failed=True)
    waits = queue.next_at()
    assert waits is not None
    assert waits - now > 100
    queue.forgive(now)
    soon = queue.next_at()
    assert soon is not None
    assert soon - now < 1
    assert queue.failures(key) == 0
