"""A rank that hangs, stops or dies is told from one that only takes long, within 5 seconds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from berth.serving.launch import LaunchConfig
from berth.serving.rank_watch import RankWatch

PERIOD = 0.5  # between heartbeats
DEFAULTS = LaunchConfig()


def watch() -> RankWatch:
    return RankWatch(
        0.0,
        period=PERIOD,
        silence_timeout=DEFAULTS.silence_timeout,
        hang_timeout=DEFAULTS.hang_timeout,
    )


def found_after(watch: RankWatch, now: float, *, beats: bool, work: int = 0) -> float:
    """Seconds from `now` until the fault shows, looking ten times a second."""
    start, next_beat = now, now + PERIOD
    while watch.fault(now) is None:
        now += 0.1
        assert now < start + 60
        if beats and now >= next_beat:
            watch.heartbeat(now, work, busy=True)
            next_beat += PERIOD
    return now - start


@given(st.lists(st.tuples(st.floats(0.1, 2.5), st.booleans()), max_size=50))
def test_a_rank_that_moves_or_rests_is_never_accused(beats: list[tuple[float, bool]]) -> None:
    rank, now = watch(), 0.0
    for work, (gap, busy) in enumerate(beats):
        now += gap
        rank.heartbeat(now, work + 1 if busy else 0, busy)
        assert rank.fault(now) is None


def test_a_long_idle_rank_is_not_accused_when_it_starts_to_work() -> None:
    rank = watch()
    for beat in range(1, 100):
        rank.heartbeat(beat * PERIOD, 7, busy=False)
    rank.heartbeat(100 * PERIOD, 7, busy=True)
    assert rank.fault(100 * PERIOD) is None


def test_a_silent_rank_is_found_within_5_seconds() -> None:
    rank = watch()
    rank.heartbeat(10.0, 1, busy=True)
    assert found_after(rank, 10.0, beats=False) < 4
    assert "no heartbeat" in str(rank.fault(14.0))


def test_a_reported_step_is_a_sign_of_life_and_progress() -> None:
    rank, now = watch(), 0.0
    for _ in range(100):
        now += DEFAULTS.silence_timeout * 0.9
        rank.stepped(now)
        assert rank.fault(now) is None
        assert rank.silent_at == now + DEFAULTS.silence_timeout
    assert found_after(rank, now, beats=True) < 5  # hung after its last report


@given(st.floats(0.0, 100.0), st.floats(0.001, 10.0))
def test_silence_is_a_fault_from_the_moment_that_is_foretold(heard: float, more: float) -> None:
    rank = watch()
    rank.heartbeat(heard, 1, busy=False)
    assert rank.fault(rank.silent_at - 1e-6) is None
    assert rank.fault(rank.silent_at + more) is not None


def test_a_busy_rank_without_progress_is_found_within_5_seconds() -> None:
    rank = watch()
    rank.heartbeat(10.0, 1, busy=True)
    # It hung just after that heartbeat, having done a little more, which the next one tells.
    assert found_after(rank, 10.0, beats=True, work=2) < 5
    assert "no progress" in str(rank.fault(15.0))


def test_our_own_standstill_counts_against_nobody() -> None:
    rank = watch()
    rank.heartbeat(10.0, 1, busy=True)
    rank.forgive(60.0)
    assert rank.fault(71.0) is None
    assert found_after(rank, 71.0, beats=False) < 4


def test_a_rank_that_loads_has_longer() -> None:
    rank = RankWatch(0.0, period=PERIOD, silence_timeout=120.0, hang_timeout=120.0)
    rank.heartbeat(1.0, 1, busy=True)
    assert rank.fault(100.0) is None
    rank.expect(100.0, silence_timeout=DEFAULTS.silence_timeout, hang_timeout=DEFAULTS.hang_timeout)
    assert rank.fault(100.0) is None
    assert found_after(rank, 100.0, beats=True, work=1) < 5
