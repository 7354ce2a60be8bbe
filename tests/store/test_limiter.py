"""The limiter against a model that counts all requests anew at each one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.store.limiter import WINDOW, Limiter, Refused, duration

# (seconds since the last one, whether a running request ends first), in eighths of a second, so
# that the model's sums are exact.
STEPS = st.lists(st.tuples(st.integers(0, 240).map(lambda n: n / 8), st.booleans()), max_size=80)
LIMIT = st.none() | st.integers(1, 8)


@given(STEPS, LIMIT, LIMIT)
def test_no_more_enter_than_the_limits_say_and_none_is_refused_that_might(
    steps: list[tuple[float, bool]], per_minute: int | None, concurrent: int | None
) -> None:
    limiter = Limiter(per_minute, concurrent)
    now, entered, running = 0.0, [], 0
    for wait, ends in steps:
        now += wait
        if ends and running:
            limiter.leave()
            running -= 1
        recent = [moment for moment in entered if moment > now - WINDOW]
        refused = limiter.enter(now)
        if concurrent is not None and running >= concurrent:
            assert refused == Refused("concurrent", concurrent, 1.0)
        elif per_minute is not None and len(recent) >= per_minute:
            assert refused == Refused("requests_per_minute", per_minute, recent[0] + WINDOW - now)
        else:
            assert refused is None
            entered.append(now)
            running += 1
        headers = dict(limiter.headers(now))
        recent = [moment for moment in entered if moment > now - WINDOW]
        if per_minute is not None:
            left = per_minute - len(recent)
            assert headers[b"x-ratelimit-remaining-requests"] == b"%d" % left
            assert headers[b"x-ratelimit-limit-requests"] == b"%d" % per_minute
        if concurrent is not None:
            left = concurrent - running
            assert headers[b"x-ratelimit-remaining-concurrent"] == b"%d" % left
        if per_minute is None and concurrent is None:
            assert headers == {}
        assert limiter.running == running


@given(STEPS, st.integers(1, 8))
def test_coming_again_after_retry_after_is_let_in(
    steps: list[tuple[float, bool]], per_minute: int
) -> None:
    limiter, now = Limiter(per_minute, None), 0.0
    for wait, _ in steps:
        now += wait
        refused = limiter.enter(now)
        if refused is not None:
            assert 0 < refused.retry_after <= WINDOW
            if refused.retry_after > 0.125:
                assert limiter.enter(now + refused.retry_after - 0.125) is not None
            now += refused.retry_after
            assert limiter.enter(now) is None
        limiter.leave()


def test_a_refused_request_takes_nothing_of_what_is_left() -> None:
    limiter = Limiter(2, None)
    assert [limiter.enter(moment) is None for moment in (0.0, 1.0)] == [True, True]
    for moment in range(2, 60):
        assert limiter.enter(float(moment)) is not None
    assert limiter.enter(60.0) is None


def test_limits_that_are_changed_count_what_was_before() -> None:
    limiter = Limiter(5, 5)
    for moment in range(4):
        assert limiter.enter(float(moment)) is None
    limiter.requests_per_minute, limiter.concurrent = 2, 10
    # Of those at 0, 1, 2 and 3 only one may be left: the third must leave the window.
    assert limiter.enter(4.0) == Refused("requests_per_minute", 2, 2.0 + WINDOW - 4.0)
    limiter.requests_per_minute = None
    assert limiter.enter(4.0) is None
    assert limiter.running == 5


def test_what_a_minute_held_is_forgotten() -> None:
    limiter = Limiter(3, None)
    assert limiter.idle(0.0)
    limiter.enter(0.0)
    limiter.leave()
    assert not limiter.idle(59.9)
    assert limiter.idle(60.0)
    limiter.enter(61.0)
    assert not limiter.idle(1000.0), "a running request is not forgotten"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (0.02, "20ms"), (0.0001, "1ms"), (1, "1s"), (1.5, "1.5s"), (59.9994, "1m0s"),
        (60, "1m0s"), (90.25, "1m30.25s"), (-1, "0s"), (359.001, "5m59.001s"),
    ],
)  # fmt: skip
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 4000))
def test_a_duration_is_never_too_short(seconds: float) -> None:
    match = re.fullmatch(r"(?:(\d+)m(?!s))?(?:([\d.]+)s)?(?:(\d+)ms)?", duration(seconds))
    assert match is not None
    told = int(match[1] or 0) * 60 + float(match[2] or 0) + int(match[3] or 0) / 1000
    assert seconds - 1e-6 <= told <= seconds + 0.001001
