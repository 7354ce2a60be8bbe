"""Figures of a load run. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from berth.cli.load import Outcome, Run

PERCENTILES = (50, 90, 99)


def percentile(values: Sequence[float], percent: float) -> float:
    """Linear between the two nearest ranks, as numpy does by default. `values` is not empty."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of a time, in seconds."""

    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None if there is nothing to measure."""
        if not values:
            return None
        return cls(*(percentile(values, percent) for percent in PERCENTILES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One run's figures. Times in seconds; None if the answers do not tell."""

    requests: int
    errors: dict[str, int]  # sentence to how often
    short: int  # answers with fewer tokens than were asked for
    seconds: float
    requests_per_second: float
    prompt_tokens: int | None
    output_tokens: int | None
    output_tokens_per_second: float | None  # over the whole run, prefill included
    counted_events: bool  # tokens are events, since the server gives no count
    ttft: Spread | None  # request to first output
    inter_token: Spread | None  # per request: (last - first) / (tokens - 1)
    event_gap: Spread | None  # between neighbouring events of one answer
    latency: Spread | None  # request to end
    client_cpu_per_token: float | None


def summarise(run: Run, asked_tokens: int) -> Summary:
    """The figures of a run; failed requests count as errors and in no time."""
    good = [outcome for outcome in run.outcomes if outcome.error is None]
    counts = [outcome.output_tokens for outcome in good]
    known = [count for count in counts if count is not None]
    total = sum(known) if good and len(known) == len(counts) else None
    prompts = [outcome.prompt_tokens for outcome in good if outcome.prompt_tokens is not None]
    gaps = [
        later - earlier
        for outcome in good
        for earlier, later in zip(outcome.arrivals, outcome.arrivals[1:], strict=False)
    ]
    steps = [step for outcome in good if (step := _inter_token(outcome)) is not None]
    first = [outcome.arrivals[0] - outcome.started for outcome in good if outcome.arrivals]
    return Summary(
        requests=len(run.outcomes),
        errors=dict(Counter(o.error for o in run.outcomes if o.error is not None)),
        short=sum(count < asked_tokens for count in known),
        seconds=run.seconds,
        requests_per_second=len(good) / run.seconds,
        prompt_tokens=sum(prompts) if good and len(prompts) == len(good) else None,
        output_tokens=total,
        output_tokens_per_second=None if total is None else total / run.seconds,
        counted_events=any(outcome.counted_events for outcome in good),
        ttft=Spread.of(first),
        inter_token=Spread.of(steps),
        event_gap=Spread.of(gaps),
        latency=Spread.of([outcome.ended - outcome.started for outcome in good]),
        client_cpu_per_token=run.client_cpu_seconds / total if total else None,
    )


def _inter_token(outcome: Outcome) -> float | None:
    tokens, arrivals = outcome.output_tokens, outcome.arrivals
    if tokens is None or tokens < 2 or len(arrivals) < 2:
        return None
    return (arrivals[-1] - arrivals[0]) / (tokens - 1)
