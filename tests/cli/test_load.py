"""The load client counts what arrived, and counts a failure as one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from berth.cli.http_client import parse_url
from berth.cli.load import Ask, Dialect, Outcome, Run, closed_loop, make_prompts, open_loop
from berth.cli.load_stats import Spread, percentile, summarise
from cli.double import Double, serving


def load(double: Double, count: int = 4, concurrency: int = 2, **ask: Any) -> Run:
    wanted = Ask(output_tokens=8, **ask)
    as_text = wanted.dialect == "kaito"
    prompts = make_prompts(count, 5, seed="t", vocab_size=100, as_text=as_text)
    with serving(double):
        return asyncio.run(closed_loop(parse_url(double.url), wanted, prompts, concurrency))


def test_every_request_is_sent_once_with_the_asked_length() -> None:
    double = Double()
    run = load(double, count=5, model="tiny")
    bodies = double.bodies("/v1/completions")
    prompts = make_prompts(5, 5, seed="t", vocab_size=100, as_text=False)
    assert sorted(body["prompt"] for body in bodies) == sorted(prompts)
    for body in bodies:
        assert body["max_tokens"] == body["min_tokens"] == 8
        assert body["ignore_eos"] is True
        assert body["temperature"] == 0
        assert body["model"] == "tiny"
    summary = summarise(run, 8)
    assert summary.errors == {}
    assert summary.output_tokens == 40
    assert summary.prompt_tokens == 25
    assert summary.short == 0


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
def test_totals_come_from_usage_when_an_event_carries_several_tokens(bytewise: bool) -> None:
    run = load(Double(tokens_per_event=4, bytewise=bytewise))
    assert [len(outcome.arrivals) for outcome in run.outcomes] == [2] * 4
    summary = summarise(run, 8)
    assert summary.output_tokens == 32
    assert not summary.counted_events


def test_events_are_counted_and_said_to_be_when_the_server_counts_no_tokens() -> None:
    summary = summarise(load(Double(counts_tokens=False)), 8)
    assert summary.output_tokens == 32
    assert summary.counted_events


def test_kaito_is_asked_in_its_own_words() -> None:
    double = Double()
    summary = summarise(load(double, dialect="kaito"), 8)
    assert summary.output_tokens == 32
    body = double.bodies("/generate")[0]
    assert body["parameters"]["max_gen_len"] == 8
    assert len(body["prompts"][0].split()) == 5


FAILURES = [
    pytest.param("openai", {"cut_after": 3}, "closed the connection in the middle", id="cut"),
    pytest.param("kaito", {"cut_after": 3}, "closed the connection in the middle", id="kaito cut"),
    pytest.param("openai", {"error_after": 3}, "the engine died", id="error event"),
    pytest.param("kaito", {"error_after": 3}, "the engine died", id="kaito error event"),
    pytest.param(
        "openai", {"refuse": (429, b'{"error":{"message":"queue full"}}')}, "queue full", id="429"
    ),
    pytest.param("openai", {"refuse": (200, b"<html>")}, "does not stream", id="no stream"),
]


@pytest.mark.parametrize(("dialect", "faults", "sentence"), FAILURES)
def test_a_failed_request_is_an_error_and_no_figure(
    dialect: Dialect, faults: dict[str, Any], sentence: str
) -> None:
    summary = summarise(load(Double(**faults), dialect=dialect), 8)
    assert sum(summary.errors.values()) == 4
    (said,) = summary.errors
    assert sentence in said
    assert summary.output_tokens is None
    assert summary.ttft is None


def test_a_request_past_its_time_is_an_error() -> None:
    summary = summarise(load(Double(endless=True, pause=0.01), count=1, timeout=0.2), 8)
    assert summary.errors == {"no end within 0.2 s": 1}


def test_a_server_without_streaming_is_timed_whole() -> None:
    summary = summarise(load(Double(refuse=(200, b'{"results":[]}')), dialect="kaito"), 8)
    assert summary.errors == {}
    assert summary.latency is not None
    assert summary.output_tokens is None


def test_no_more_clients_run_than_asked_and_all_of_those_do() -> None:
    run = load(Double(pause=0.005), count=9, concurrency=3)
    moments = [outcome.started for outcome in run.outcomes]
    running = [sum(o.started <= at < o.ended for o in run.outcomes) for at in moments]
    assert max(running) == 3


def test_an_open_loop_keeps_its_own_time_whatever_the_server_does() -> None:
    double = Double(pause=0.02)  # 0.16 s an answer, 0.01 s between arrivals
    prompts = make_prompts(20, 5, seed="t", vocab_size=100, as_text=False)
    with serving(double):
        target = parse_url(double.url)
        run = asyncio.run(open_loop(target, Ask(output_tokens=8), prompts, 100.0, "s"))
    assert not summarise(run, 8).errors
    started = sorted(outcome.started for outcome in run.outcomes)
    assert started[-1] - started[0] < 20 * 0.16 / 2  # one after the other would take 3.2 s


def test_prompts_are_exact_and_the_same_for_the_same_seed() -> None:
    first = make_prompts(3, 128, seed="0/8", vocab_size=512, as_text=False)
    assert first == make_prompts(3, 128, seed="0/8", vocab_size=512, as_text=False)
    assert first != make_prompts(3, 128, seed="1/8", vocab_size=512, as_text=False)
    assert all(len(prompt) == 128 for prompt in first)
    assert all(0 <= int(token) < 512 for prompt in first for token in prompt)


def test_percentiles_are_numpys() -> None:
    numpy = pytest.importorskip("numpy")
    values = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6]
    for percent in (0, 50, 90, 99, 100):
        assert percentile(values, percent) == pytest.approx(numpy.percentile(values, percent))
    assert percentile([7.0], 99) == 7.0


def test_figures_are_what_their_names_say() -> None:
    slow = Outcome(10.0, 13.0, None, [11.0, 12.0, 13.0], output_tokens=5, prompt_tokens=4)
    fast = Outcome(10.0, 12.0, None, [10.5, 12.0], output_tokens=4, prompt_tokens=4)
    lost = Outcome(10.0, 14.0, "lost")
    summary = summarise(Run([slow, fast, lost], 4.0, 0.009), 5)
    assert summary.output_tokens == 9
    assert summary.output_tokens_per_second == 9 / 4.0
    assert summary.ttft == Spread.of([1.0, 0.5])
    assert summary.inter_token == Spread.of([2.0 / 4, 1.5 / 3])
    assert summary.event_gap == Spread.of([1.0, 1.0, 1.5])
    assert summary.latency == Spread.of([3.0, 2.0])
    assert summary.client_cpu_per_token == pytest.approx(0.001)
    assert summary.short == 1
    assert summary.errors == {"lost": 1}
