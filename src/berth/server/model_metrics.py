"""One model's figures: what its service reports, under vLLM's names and our own."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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

_MOST_GAPS = 512  # that wait to be counted while no metrics are requested

_ENGINE = "0"  # vLLM numbers its engines; one serves a model here

_REASONS = ("stop", "length", "cancelled", "error")  # the last: a request that raised an error
# What vLLM calls our "cancelled".
_REASON_LABELS = {"cancelled": "abort"}


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


class Families:
    """The series of one registry that have a model's name, before they have one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        names = ["model_name", "engine"]  # as vLLM labels its own

        def gauge(name: str, text: str, *more: str) -> Gauge:
            return Gauge(name, text, [*names, *more], registry=registry)

        def counter(name: str, text: str, *more: str) -> Counter:
            return Counter(name, text, [*names, *more], registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, names, buckets=buckets, registry=registry)

        self.running = gauge("vllm:num_requests_running", "Sequences in the engine's batch.")
        self.waiting = gauge("vllm:num_requests_waiting", "Sequences waiting to be admitted.")
        self.waiting_for = gauge(
            "vllm:num_requests_waiting_by_reason",
            "The same by reason: nothing but room is waited for here.",
            "reason",
        )
        self.awake = gauge(
            "vllm:engine_sleep_state",
            "1 for awake: an engine that answers never sleeps here.",
            "sleep_state",
        )
        self.kv_usage = gauge("vllm:kv_cache_usage_perc", "KV blocks in use; 1 is all of them.")
        self.prompt = counter("vllm:prompt_tokens", "Prompt tokens of admitted requests.")
        self.sources = counter(
            "vllm:prompt_tokens_by_source",
            "Prompt tokens by where their keys and values came from.",
            "source",
        )
        self.generated = counter("vllm:generation_tokens", "Output tokens.")
        self.preemptions = counter("vllm:num_preemptions", "Sequences preempted by the engine.")
        self.queries = counter("vllm:prefix_cache_queries", "Prompt tokens looked up.")
        self.hits = counter("vllm:prefix_cache_hits", "Prompt tokens found in the prefix cache.")
        self.first = histogram(
            "vllm:time_to_first_token_seconds", "From submission to the first token.", _FIRST_TOKEN
        )
        self.between = histogram(
            "vllm:inter_token_latency_seconds", "Between two tokens of one request.", _PER_TOKEN
        )
        self.per_token = histogram(
            "vllm:time_per_output_token_seconds",
            "A request's time after its first token, per further token.",
            _PER_TOKEN,
        )
        self.request_per_token = histogram(
            "vllm:request_time_per_output_token_seconds",
            "The same under vLLM's newer name.",
            _PER_TOKEN,
        )
        self.request = histogram(
            "vllm:e2e_request_latency_seconds", "From submission to the last token.", _REQUEST
        )
        self.queue = histogram(
            "vllm:request_queue_time_seconds", "In the engine's queue, to the first step.", _REQUEST
        )
        self.prefill = histogram(
            "vllm:request_prefill_time_seconds", "From the first step to the first token.", _REQUEST
        )
        self.decode = histogram(
            "vllm:request_decode_time_seconds", "From the first token to the last.", _REQUEST
        )
        self.inference = histogram(
            "vllm:request_inference_time_seconds",
            "From the first step to the last token.",
            _REQUEST,
        )
        self.request_prompt = histogram(
            "vllm:request_prompt_tokens", "Tokens of a request's prompt.", _TOKENS
        )
        self.request_generated = histogram(
            "vllm:request_generation_tokens", "Output tokens of a request.", _TOKENS
        )
        self.request_max = histogram(
            "vllm:request_max_num_generation_tokens", "Most output tokens of a request.", _TOKENS
        )
        self.param_max = histogram(
            "vllm:request_params_max_tokens", "The same, as vLLM names the parameter.", _TOKENS
        )
        self.param_n = histogram(
            "vllm:request_params_n", "Answers of a request: each is one here.", (1.0, 2.0, 5.0)
        )
        self.iteration = histogram(
            "vllm:iteration_tokens_total", "Tokens that a step of the engine computed.", _TOKENS
        )
        self.success = counter(
            "vllm:request_success", "Requests that ended, by reason.", "finished_reason"
        )
        self.cache = Gauge(
            "vllm:cache_config_info",
            "1, with the KV cache's configuration.",
            [*names, "block_size", "num_gpu_blocks", "cache_dtype"],
            registry=registry,
        )
        own = ["model_name"]
        self.estimated = Gauge(
            "berth_fit_estimated_bytes",
            "Rank 0's memory by what it is for, as fit reckons it.",
            [*own, "term"],
            registry=registry,
        )
        self.measured = Gauge(
            "berth_fit_measured_bytes",
            "Rank 0's memory at its most, since before it loaded.",
            own,
            registry=registry,
        )
        self.deaths = Counter(
            "berth_engine_deaths", "Engines that died or hung.", own, registry=registry
        )
        self.restarts = Counter(
            "berth_engine_restarts", "Engines that took a dead one's place.", own, registry=registry
        )


class ModelMetrics:
    """Implements `Observer` for one model. Methods are called on the event loop's thread."""

    def __init__(self, families: Families, model_name: str) -> None:
        self._families = families
        self._model_name = model_name
        self._engine = EngineStats()
        self._counted = EngineStats()  # what of the engine's counters the metrics have
        self._new_tokens = 0  # since then
        self._new_gaps: list[float] = []
        self._new_steps: list[int] = []  # positions that each step computed
        self._had_engine = False
        self._ready: Ready | None = None
        self._prompt_tokens = 0  # of all admitted requests
        self._computed_tokens = 0  # that were counted as computed
        self._cache: tuple[str, ...] | None = None  # the labels of its configuration

        # Every series is there from the beginning, at nought.
        values = (model_name, _ENGINE)
        self._running = families.running.labels(*values)
        self._waiting = families.waiting.labels(*values)
        self._kv_usage = families.kv_usage.labels(*values)
        self._prompt = families.prompt.labels(*values)
        self._generated = families.generated.labels(*values)
        self._preemptions = families.preemptions.labels(*values)
        self._queries = families.queries.labels(*values)
        self._hits = families.hits.labels(*values)
        self._first = families.first.labels(*values)
        self._between = families.between.labels(*values)
        self._per_token = families.per_token.labels(*values)
        self._request_per_token = families.request_per_token.labels(*values)
        self._request = families.request.labels(*values)
        self._queue = families.queue.labels(*values)
        self._prefill = families.prefill.labels(*values)
        self._decode = families.decode.labels(*values)
        self._inference = families.inference.labels(*values)
        self._request_prompt = families.request_prompt.labels(*values)
        self._request_generated = families.request_generated.labels(*values)
        self._request_max = families.request_max.labels(*values)
        self._param_max = families.param_max.labels(*values)
        self._param_n = families.param_n.labels(*values)
        self._iteration = families.iteration.labels(*values)
        self._measured = families.measured.labels(model_name)
        self._deaths = families.deaths.labels(model_name)
        self._restarts = families.restarts.labels(model_name)
        for state in ("awake", "weights_offloaded", "discard_all"):
            families.awake.labels(*values, state).set(0)
        self._awake = families.awake.labels(*values, "awake")
        families.waiting_for.labels(*values, "deferred").set(0)
        self._waits_for_room = families.waiting_for.labels(*values, "capacity")
        self._computed = families.sources.labels(*values, "local_compute")
        self._reused = families.sources.labels(*values, "local_cache_hit")
        families.sources.labels(*values, "external_kv_transfer")
        self._ended = {
            reason: families.success.labels(*values, _REASON_LABELS.get(reason, reason))
            for reason in _REASONS
        }

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
            self.count()

    def count(self) -> None:
        """Take what the steps since the last time brought into the metrics."""
        last, stats = self._counted, self._engine
        if stats.memory_bytes:
            self._measured.set(stats.memory_bytes)
        self._running.set(stats.running)
        self._waiting.set(stats.waiting)
        self._waits_for_room.set(stats.waiting)
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
        self._awake.set(1)
        if self._cache is not None:
            self._families.cache.remove(*self._cache)
        self._cache = (
            self._model_name,
            _ENGINE,
            str(ready.block_size),
            str(ready.blocks_total),
            ready.dtype,
        )
        self._families.cache.labels(*self._cache).set(1)
        for term, size in ready.estimated.items():
            self._families.estimated.labels(self._model_name, term).set(size)

    def engine_died(self, reason: str) -> None:
        """An engine ended unasked, or hung and was ended."""
        self._deaths.inc()
        self._awake.set(0)
        self._engine = msgspec.structs.replace(self._engine, running=0)

    def engine_unloaded(self, stats: EngineStats) -> None:
        """The engine was ended for another model's; the next one is no restart."""
        self._engine = stats
        self._measured.set(0)
        self._awake.set(0)
        self._had_engine, self._ready = False, None

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
