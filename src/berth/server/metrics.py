"""GET /metrics: what dashboards and autoscalers for vLLM read, under vLLM's names, and our own.

`Metrics` is the observer that a model service reports to, so every figure is counted where it
happens and once. Each app has its own registry.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

import msgspec
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from berth.protocol.messages import EngineStats, Ready
from berth.serving.observer import RequestRecord

# vLLM's bucket bounds, in seconds, so that its recording rules and dashboards fit.
_FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
                7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0)  # fmt: skip
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
              10.0, 20.0, 40.0, 80.0)  # fmt: skip
_REQUEST = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0,
            120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0)  # fmt: skip

_TOKENS = tuple(float(step * 10**power) for power in range(6) for step in (1, 2, 5))
_HTTP = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_MOST_GAPS = 512  # that wait to be counted, where nobody asks for metrics

_ENGINE = "0"  # vLLM numbers its engines; one serves a model here

_REASONS = ("stop", "length", "cancelled", "error")  # the last: a request that raised an error
# What vLLM calls our "cancelled".
_REASON_LABELS = {"cancelled": "abort"}


def package_version() -> str:
    """Berth's version as installed; "unknown" where it runs from a bare source tree."""
    try:
        return version("berth")
    except PackageNotFoundError:
        return "unknown"


class _ProcessSeconds(Collector):
    """CPU time of this process: the server's part, for the engine has its own processes."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Read the clock when scraped."""
        yield CounterMetricFamily(
            "berth_server_seconds",
            "CPU seconds of the server process; over generation tokens, the server's time a token.",
            value=time.process_time(),
        )


class FitReport(msgspec.Struct, frozen=True, kw_only=True):
    """Rank 0's memory in bytes. On CPU a block of the cache is measured once it has been used."""

    engine: str
    device: str
    dtype: str
    degree: int
    max_model_len: int
    blocks: int
    estimated: dict[str, int]
    estimated_bytes: int
    measured_bytes: int | None


class Metrics:
    """One app's figures, for one model. Methods are called on the event loop's thread."""

    def __init__(self, model_name: str) -> None:
        self.registry = CollectorRegistry()
        self._engine = EngineStats()
        self._counted = EngineStats()  # what of the engine's counters the metrics have
        self._new_tokens = 0  # since then
        self._new_gaps: list[float] = []
        self._new_steps: list[int] = []  # positions that each step computed
        self._had_engine = False
        self._ready: Ready | None = None

        names, values = ["model_name", "engine"], (model_name, _ENGINE)  # as vLLM labels its own

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, names, registry=self.registry).labels(*values)

        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, names, registry=self.registry).labels(*values)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            made = Histogram(name, text, names, buckets=buckets, registry=self.registry)
            return made.labels(*values)

        self._running = gauge("vllm:num_requests_running", "Sequences in the engine's batch.")
        self._waiting = gauge("vllm:num_requests_waiting", "Sequences waiting to be admitted.")
        self._waiting_for = Gauge(
            "vllm:num_requests_waiting_by_reason",
            "The same by reason: nothing but room is waited for here.",
            [*names, "reason"],
            registry=self.registry,
        )
        self._waiting_for.labels(*values, "deferred").set(0)
        self._awake = Gauge(
            "vllm:engine_sleep_state", "1 for awake: an engine that answers never sleeps here.",
            [*names, "sleep_state"], registry=self.registry,
        )  # fmt: skip
        for state in ("awake", "weights_offloaded", "discard_all"):
            self._awake.labels(*values, state).set(0)
        self._kv_usage = gauge("vllm:kv_cache_usage_perc", "KV blocks in use; 1 is all of them.")
        self._prompt = counter("vllm:prompt_tokens", "Prompt tokens of admitted requests.")
        sources = Counter(
            "vllm:prompt_tokens_by_source",
            "Prompt tokens by where their keys and values came from.",
            [*names, "source"],
            registry=self.registry,
        )
        self._computed = sources.labels(*values, "local_compute")
        self._reused = sources.labels(*values, "local_cache_hit")
        sources.labels(*values, "external_kv_transfer")
        self._prompt_tokens = 0  # of all admitted requests
        self._computed_tokens = 0  # that were counted as computed
        self._generated = counter("vllm:generation_tokens", "Output tokens.")
        self._preemptions = counter("vllm:num_preemptions", "Sequences preempted by the engine.")
        self._queries = counter("vllm:prefix_cache_queries", "Prompt tokens looked up.")
        self._hits = counter("vllm:prefix_cache_hits", "Prompt tokens found in the prefix cache.")
        self._first = histogram(
            "vllm:time_to_first_token_seconds", "From submission to the first token.", _FIRST_TOKEN
        )
        self._between = histogram(
            "vllm:inter_token_latency_seconds", "Between two tokens of one request.", _PER_TOKEN
        )
        self._per_token = histogram(
            "vllm:time_per_output_token_seconds",
            "A request's time after its first token, per further token.",
            _PER_TOKEN,
        )
        self._request_per_token = histogram(
            "vllm:request_time_per_output_token_seconds",
            "The same under vLLM's newer name.",
            _PER_TOKEN,
        )
        self._request = histogram(
            "vllm:e2e_request_latency_seconds", "From submission to the last token.", _REQUEST
        )
        self._queue = histogram(
            "vllm:request_queue_time_seconds", "In the engine's queue, to the first step.", _REQUEST
        )
        self._prefill = histogram(
            "vllm:request_prefill_time_seconds", "From the first step to the first token.", _REQUEST
        )
        self._decode = histogram(
            "vllm:request_decode_time_seconds", "From the first token to the last.", _REQUEST
        )
        self._inference = histogram(
            "vllm:request_inference_time_seconds",
            "From the first step to the last token.",
            _REQUEST,
        )
        self._request_prompt = histogram(
            "vllm:request_prompt_tokens", "Tokens of a request's prompt.", _TOKENS
        )
        self._request_generated = histogram(
            "vllm:request_generation_tokens", "Output tokens of a request.", _TOKENS
        )
        self._request_max = histogram(
            "vllm:request_max_num_generation_tokens", "Most output tokens of a request.", _TOKENS
        )
        self._param_max = histogram(
            "vllm:request_params_max_tokens", "The same, as vLLM names the parameter.", _TOKENS
        )
        self._param_n = histogram(
            "vllm:request_params_n", "Answers of a request: each is one here.", (1.0, 2.0, 5.0)
        )
        self._iteration = histogram(
            "vllm:iteration_tokens_total", "Tokens that a step of the engine computed.", _TOKENS
        )
        success = Counter(
            "vllm:request_success",
            "Requests that ended, by reason.",
            [*names, "finished_reason"],
            registry=self.registry,
        )
        self._ended = {
            reason: success.labels(*values, _REASON_LABELS.get(reason, reason))
            for reason in _REASONS
        }
        self._model_name = model_name
        self._estimated = Gauge(
            "berth_fit_estimated_bytes", "Rank 0's memory by what it is for, as fit reckons it.",
            ["model_name", "term"], registry=self.registry,
        )  # fmt: skip
        self._measured = Gauge(
            "berth_fit_measured_bytes", "Rank 0's memory at its most, since before it loaded.",
            ["model_name"], registry=self.registry,
        ).labels(model_name)  # fmt: skip
        self._deaths = Counter(
            "berth_engine_deaths", "Engines that died or hung.", ["model_name"],
            registry=self.registry,
        ).labels(model_name)  # fmt: skip
        self._restarts = Counter(
            "berth_engine_restarts", "Engines that took a dead one's place.", ["model_name"],
            registry=self.registry,
        ).labels(model_name)  # fmt: skip
        Gauge(
            "berth_build_info", "1, with the build's versions.", ["version", "python"],
            registry=self.registry,
        ).labels(package_version(), platform.python_version()).set(1)  # fmt: skip
        self._http = Counter(
            "http_requests", "HTTP requests by route, method and kind of status (2xx, 4xx, 5xx).",
            ["handler", "method", "status"], registry=self.registry,
        )  # fmt: skip
        self._http_seconds = Histogram(
            "http_request_duration_seconds", "From a request's head to the end of its answer.",
            ["handler", "method"], buckets=_HTTP, registry=self.registry,
        )  # fmt: skip
        self._cache = Gauge(
            "vllm:cache_config_info", "1, with the KV cache's configuration.",
            ["engine", "block_size", "num_gpu_blocks", "cache_dtype"], registry=self.registry,
        )  # fmt: skip
        ProcessCollector(registry=self.registry)
        self.registry.register(_ProcessSeconds())

    # What a model service reports: berth.serving.observer.Observer.

    def request_started(self, prompt_tokens: int) -> None:
        """A request was admitted."""
        self._prompt.inc(prompt_tokens)
        self._prompt_tokens += prompt_tokens

    def request_finished(self, record: RequestRecord) -> None:
        """It ended, in whatever way."""
        self._ended[record.finish_reason or "error"].inc()
        if record.finish_reason not in ("stop", "length"):
            return
        self._request.observe(record.total)
        self._request_prompt.observe(record.prompt_tokens)
        self._request_generated.observe(record.output_tokens)
        self._request_max.observe(record.max_tokens)
        self._param_max.observe(record.max_tokens)
        self._param_n.observe(1)
        if record.first_token is not None:
            self._decode.observe(record.total - record.first_token)
            if record.queued is not None:
                self._queue.observe(record.queued)
                self._prefill.observe(max(record.first_token - record.queued, 0.0))
                self._inference.observe(max(record.total - record.queued, 0.0))
        if record.first_token is not None and record.output_tokens > 1:
            decoding = record.total - record.first_token
            each = decoding / (record.output_tokens - 1)
            self._per_token.observe(each)
            self._request_per_token.observe(each)

    def step(
        self, stats: EngineStats, tokens: int, first_tokens: Sequence[float], gaps: Sequence[float]
    ) -> None:
        """One step of the engine: its state, and what it brought to its requests.

        Only kept here: metrics are made of it when they are asked for, for what is done at each
        step is taken from each token.
        """
        self._engine = stats
        self._new_tokens += tokens
        self._new_gaps += gaps
        self._new_steps.append(stats.tokens_in_step)
        for seconds in first_tokens:
            self._first.observe(seconds)
        if len(self._new_gaps) + len(self._new_steps) > _MOST_GAPS:
            self._count()

    def _count(self) -> None:
        """Take what the steps since the last time brought into the metrics."""
        last, stats = self._counted, self._engine
        if stats.memory_bytes:
            self._measured.set(stats.memory_bytes)
        self._running.set(stats.running)
        self._waiting.set(stats.waiting)
        self._waiting_for.labels(self._model_name, _ENGINE, "capacity").set(stats.waiting)
        self._kv_usage.set(stats.blocks_used / stats.blocks_total if stats.blocks_total else 0.0)
        self._preemptions.inc(stats.preemptions - last.preemptions)
        self._queries.inc(stats.prefix_queries - last.prefix_queries)
        self._hits.inc(stats.prefix_hits - last.prefix_hits)
        self._reused.inc(stats.prefix_hits - last.prefix_hits)
        # A prompt that waits counts as to be computed, until what it shares is found.
        computed = max(self._prompt_tokens - stats.prefix_hits, self._computed_tokens)
        self._computed.inc(computed - self._computed_tokens)
        self._computed_tokens = computed
        self._generated.inc(self._new_tokens)
        for seconds in self._new_gaps:
            self._between.observe(seconds)
        self._counted, self._new_tokens = stats, 0
        self._new_gaps.clear()
        for positions in self._new_steps:
            self._iteration.observe(positions)
        self._new_steps.clear()

    def engine_ready(self, ready: Ready) -> None:
        """An engine answers from now on; any but the first is a restart."""
        if self._had_engine:
            self._restarts.inc()
        self._had_engine = True
        self._ready = ready
        self._awake.labels(self._model_name, _ENGINE, "awake").set(1)
        self._cache.clear()
        self._cache.labels(
            _ENGINE, str(ready.block_size), str(ready.blocks_total), ready.dtype
        ).set(1)
        for term, size in ready.estimated.items():
            self._estimated.labels(self._model_name, term).set(size)

    def engine_died(self, reason: str) -> None:
        """An engine ended unasked, or hung and was ended."""
        self._deaths.inc()
        self._awake.labels(self._model_name, _ENGINE, "awake").set(0)
        self._engine = msgspec.structs.replace(self._engine, running=0)

    def fit(self) -> FitReport | None:
        """What the engine was reckoned to take, and takes; None before the first is ready."""
        ready = self._ready
        if ready is None:
            return None
        return FitReport(
            engine=ready.engine,
            device=ready.device,
            dtype=ready.dtype,
            degree=ready.degree,
            max_model_len=ready.max_model_len,
            blocks=ready.blocks_total,
            estimated=ready.estimated,
            estimated_bytes=sum(ready.estimated.values()),
            measured_bytes=self._engine.memory_bytes or None,
        )

    # What the server itself reports.

    def http_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """One HTTP request was answered. `route` is a template, so that the series stay few."""
        self._http.labels(route, method, f"{status // 100}xx").inc()
        self._http_seconds.labels(route, method).observe(seconds)

    def exposition(self) -> bytes:
        """All figures in Prometheus' text format 0.0.4."""
        self._count()
        return generate_latest(self.registry)
