"""Moments and spans as people write them."""

from __future__ import annotations

import pytest

from berth.store.moments import moment_of, shown, span_of

NOW = 1_796_000_000  # 2026-11-29T20:53:20Z


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30m", NOW + 1800),
        ("12h", NOW + 43_200),
        ("90d", NOW + 7_776_000),
        ("4w", NOW + 2_419_200),
        ("2027-01-31", 1_801_353_600),
        ("2027-01-31T12:00Z", 1_801_396_800),
        ("2027-01-31T12:00:00+01:00", 1_801_393_200),
        ("2027-01-31T12:00", 1_801_396_800),
    ],
)
def test_a_moment_is_a_span_from_now_or_a_date_in_utc(text: str, moment: int) -> None:
    assert moment_of(text, NOW) == moment


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no moment"), ("soon", "no moment"), ("90", "no moment"), ("-1d", "no moment"),
        ("1.5d", "no moment"), ("2027-02-30", "no moment"), ("0d", "has passed"),
        ("2020-01-01", "has passed"), ("999999999w", "9999"), ("9999999999d", "no moment"),
    ],
)  # fmt: skip
def test_what_is_no_moment_is_refused_by_its_words(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        moment_of(text, NOW)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("15m", 900), ("1d", 86_400)])
def test_a_span_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert span_of(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "-5m", "m", "5s", "1 d"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no span of time"):
        span_of(text)


def test_moments_are_shown_in_utc() -> None:
    assert shown(1_801_353_600) == "2027-01-31T00:00:00Z"
    assert shown(None) is None
