"""The figures under vLLM's names, counted once and never for a path that a client made up."""

from __future__ import annotations

from app_client import AppClient
from fake_service import FakeService
from prometheus_client.parser import text_string_to_metric_families

from berth.protocol.messages import EngineStats, Ready
from berth.server.metrics import Metrics
from berth.serving.observer import Observer, RequestRecord

READY = Ready(
    engine="native", architecture="llama", vocab_size=1, max_model_len=1, max_num_seqs=1,
    block_size=1, blocks_total=1, dtype="float32", device="cpu", degree=1, weight_bytes=1,
    kv_bytes=1, load_seconds=1.0,
)  # fmt: skip


def _record(reason: str | None, output_tokens: int = 5) -> RequestRecord:
    return RequestRecord(
        request_id="r", prompt_tokens=3, output_tokens=output_tokens, cached_tokens=0,
        finish_reason=reason, error=None, first_token=0.5, total=2.5, replays=0,
        queued=0.2, max_tokens=40,
    )  # type: ignore[arg-type]  # fmt: skip


_EVERYWHERE = ("model_name", "engine", "le")


def _samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """(name, label values except the model's…) to value."""
    text = metrics.exposition().decode()
    return {
        (one.name, *(v for k, v in sorted(one.labels.items()) if k not in _EVERYWHERE)): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if not one.name.endswith("_bucket")
    }  # fmt: skip


def test_what_a_service_reports_is_shown_under_vllms_names() -> None:
    metrics = Metrics()
    observer: Observer = metrics.of("pocket")  # it fulfils serving's protocol
    observer.request_started(7)
    stats = EngineStats(running=2, waiting=3, blocks_used=1, blocks_total=4, preemptions=1,
                        prefix_queries=10, prefix_hits=4)  # fmt: skip
    observer.step(stats, 3, [0.1], [0.02, 0.03])
    observer.request_finished(_record("stop"))
    observer.request_finished(_record("cancelled"))
    observer.request_finished(_record(None))
    shown = _samples(metrics)
    assert shown[("vllm:num_requests_running",)] == 2
    assert shown[("vllm:num_requests_waiting",)] == 3
    assert shown[("vllm:kv_cache_usage_perc",)] == 0.25
    assert shown[("vllm:prompt_tokens_total",)] == 7
    assert shown[("vllm:generation_tokens_total",)] == 3
    assert shown[("vllm:num_preemptions_total",)] == 1
    assert shown[("vllm:prefix_cache_queries_total",)] == 10
    assert shown[("vllm:prefix_cache_hits_total",)] == 4
    assert shown[("vllm:time_to_first_token_seconds_count",)] == 1
    assert shown[("vllm:inter_token_latency_seconds_count",)] == 2
    assert shown[("vllm:e2e_request_latency_seconds_sum",)] == 2.5
    assert shown[("vllm:time_per_output_token_seconds_sum",)] == 0.5
    assert shown[("vllm:request_success_total", "stop")] == 1
    assert shown[("vllm:request_success_total", "abort")] == 1
    assert shown[("vllm:request_success_total", "error")] == 1
    assert shown[("berth_server_seconds_total",)] > 0
    assert 'model_name="pocket"' in metrics.exposition().decode()
    assert "berth_build_info{" in metrics.exposition().decode()


def test_counters_grow_by_what_the_engine_added() -> None:
    metrics = Metrics()
    model = metrics.of("pocket")
    model.step(EngineStats(preemptions=2), 1, [], [])
    model.step(EngineStats(preemptions=5), 1, [], [])
    assert _samples(metrics)[("vllm:num_preemptions_total",)] == 5


def test_deaths_and_restarts_of_the_engine_are_counted() -> None:
    metrics = Metrics()
    model = metrics.of("pocket")
    model.engine_ready(READY)
    model.engine_died("signal 9")
    assert _samples(metrics)[("berth_engine_restarts_total",)] == 0
    model.engine_ready(READY)
    shown = _samples(metrics)
    assert shown[("berth_engine_deaths_total",)] == 1
    assert shown[("berth_engine_restarts_total",)] == 1


def test_http_requests_are_counted_by_template_and_status(client: AppClient) -> None:
    client.get("/v1/models/pocket")
    client.get("/v1/models/other")
    client.get("/made/up")
    client.call("BREW", "/made/up/too", b"")
    reply = client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    shown = _samples(client.metrics)
    assert shown[("http_requests_total", "/v1/models/{model_id:path}", "GET", "2xx")] == 1
    assert shown[("http_requests_total", "/v1/models/{model_id:path}", "GET", "4xx")] == 1
    assert shown[("http_requests_total", "unmatched", "GET", "4xx")] == 1
    assert shown[("http_requests_total", "unmatched", "other", "4xx")] == 1
    assert "made" not in reply.body.decode()


def test_two_apps_in_one_process_do_not_share_figures() -> None:
    with AppClient(FakeService()) as one, AppClient(FakeService()) as other:
        one.get("/livez")
        key = ("http_requests_total", "/livez", "GET", "2xx")
        assert _samples(one.metrics)[key] == 1
        assert key not in _samples(other.metrics)


# What vLLM's own Grafana boards ask for: the series, and the labels that they group by.
BOARDS: dict[str, set[str]] = {
    "vllm:e2e_request_latency_seconds_bucket": {"model_name", "le"},
    "vllm:prompt_tokens_total": {"model_name"},
    "vllm:generation_tokens_total": {"model_name"},
    "vllm:time_per_output_token_seconds_bucket": {"model_name", "le"},
    "vllm:request_time_per_output_token_seconds_bucket": {"model_name", "le"},
    "vllm:inter_token_latency_seconds_bucket": {"model_name", "le"},
    "vllm:num_requests_running": {"model_name", "engine"},
    "vllm:num_requests_waiting": {"model_name", "engine"},
    "vllm:kv_cache_usage_perc": {"model_name", "engine"},
    "vllm:time_to_first_token_seconds_bucket": {"model_name", "le"},
    "vllm:request_prompt_tokens_bucket": {"model_name", "le"},
    "vllm:request_generation_tokens_bucket": {"model_name", "le"},
    "vllm:request_success_total": {"model_name", "finished_reason"},
    "vllm:request_queue_time_seconds_sum": {"model_name"},
    "vllm:request_prefill_time_seconds_sum": {"model_name"},
    "vllm:request_decode_time_seconds_sum": {"model_name"},
    "vllm:request_inference_time_seconds_sum": {"model_name"},
    "vllm:request_max_num_generation_tokens_sum": {"model_name"},
    "vllm:request_params_max_tokens_sum": {"model_name"},
    "vllm:request_params_n_sum": {"model_name"},
    "vllm:iteration_tokens_total_bucket": {"model_name", "le"},
    "vllm:num_preemptions_total": {"model_name"},
    "vllm:prefix_cache_queries_total": {"model_name"},
    "vllm:prefix_cache_hits_total": {"model_name"},
    "vllm:cache_config_info": {"block_size", "num_gpu_blocks"},
    "vllm:num_requests_waiting_by_reason": {"model_name", "engine", "reason"},
    "vllm:prompt_tokens_by_source_total": {"model_name", "engine", "source"},
    "vllm:engine_sleep_state": {"model_name", "engine", "sleep_state"},
    "http_requests_total": {"handler", "method", "status"},
    "http_request_duration_seconds_bucket": {"handler", "method", "le"},
    "process_resident_memory_bytes": set(),
    "process_cpu_seconds_total": set(),
    "process_start_time_seconds": set(),
}


def test_every_query_of_vllms_boards_finds_its_series() -> None:
    metrics = Metrics()
    model = metrics.of("pocket")
    model.engine_ready(READY)
    model.step(EngineStats(running=1, tokens_in_step=9), 1, [0.1], [0.02])
    model.request_finished(_record("stop"))
    metrics.http_request("/v1/completions", "POST", 503, 0.2)
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for one in family.samples:
            labels.setdefault(one.name, set()).update(one.labels)
    for name, wanted in BOARDS.items():
        assert name in labels, name
        assert wanted <= labels[name], (name, labels[name])


def test_the_times_of_a_request_are_its_parts() -> None:
    metrics = Metrics()
    model = metrics.of("pocket")
    model.request_finished(_record("stop"))
    shown = _samples(metrics)
    assert shown[("vllm:request_queue_time_seconds_sum",)] == 0.2
    assert shown[("vllm:request_prefill_time_seconds_sum",)] == 0.5 - 0.2
    assert shown[("vllm:request_decode_time_seconds_sum",)] == 2.0
    assert shown[("vllm:request_inference_time_seconds_sum",)] == 2.5 - 0.2
    assert shown[("vllm:request_prompt_tokens_sum",)] == 3
    assert shown[("vllm:request_generation_tokens_sum",)] == 5
    assert shown[("vllm:request_max_num_generation_tokens_sum",)] == 40


def test_an_engine_that_answers_is_awake_and_a_dead_one_is_not() -> None:
    metrics = Metrics()
    model = metrics.of("pocket")
    key = ("vllm:engine_sleep_state", "awake")
    assert _samples(metrics)[key] == 0
    model.engine_ready(READY)
    assert _samples(metrics)[key] == 1
    model.engine_died("signal 9")
    assert _samples(metrics)[key] == 0


def test_prompt_tokens_are_parted_by_where_they_came_from() -> None:
    metrics = Metrics()
    model = metrics.of("pocket")
    model.request_started(10)
    model.step(EngineStats(prefix_queries=10, prefix_hits=4), 1, [], [])
    shown = _samples(metrics)
    assert shown[("vllm:prompt_tokens_by_source_total", "local_compute")] == 6
    assert shown[("vllm:prompt_tokens_by_source_total", "local_cache_hit")] == 4
    assert shown[("vllm:prompt_tokens_by_source_total", "external_kv_transfer")] == 0
    model.request_started(5)  # it waits: what it shares is not known yet
    model.step(EngineStats(waiting=1, prefix_queries=10, prefix_hits=4), 0, [], [])
    shown = _samples(metrics)
    assert shown[("vllm:num_requests_waiting_by_reason", "capacity")] == 1
    assert shown[("vllm:num_requests_waiting_by_reason", "deferred")] == 0
    model.step(EngineStats(prefix_queries=15, prefix_hits=8), 0, [], [])
    shown = _samples(metrics)
    assert shown[("vllm:prompt_tokens_by_source_total", "local_cache_hit")] == 8
    # Counters do not go back: the four that were taken for computed are made up for later.
    assert shown[("vllm:prompt_tokens_by_source_total", "local_compute")] == 11
    model.request_started(10)
    assert _samples(metrics)[("vllm:prompt_tokens_by_source_total", "local_compute")] == 17


def test_a_server_fault_is_counted_as_the_boards_ask_for_it() -> None:
    metrics = Metrics()
    metrics.http_request("/v1/completions", "POST", 503, 0.2)
    assert _samples(metrics)[("http_requests_total", "/v1/completions", "POST", "5xx")] == 1


def test_a_model_that_is_ended_for_another_has_nothing_running_and_restarts_nothing() -> None:
    metrics = Metrics()
    observer = metrics.of("pocket")
    observer.engine_ready(READY)
    observer.step(EngineStats(running=2, prefix_queries=5, memory_bytes=9), 1, [], [])
    assert _samples(metrics)[("berth_fit_measured_bytes",)] == 9
    observer.engine_unloaded(EngineStats(prefix_queries=5))
    shown = _samples(metrics)
    assert shown[("vllm:num_requests_running",)] == 0
    assert shown[("berth_fit_measured_bytes",)] == 0
    assert shown[("vllm:engine_sleep_state", "awake")] == 0
    assert observer.fit() is None
    observer.engine_ready(READY)
    observer.step(EngineStats(prefix_queries=7), 1, [], [])
    shown = _samples(metrics)
    assert shown[("vllm:prefix_cache_queries_total",)] == 7
    assert shown[("berth_engine_restarts_total",)] == 0
