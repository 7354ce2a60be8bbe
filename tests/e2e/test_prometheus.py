"""Debian's Prometheus reads a running server, and the boards' queries have answers.

The figures and the labels that are asked for are those of vLLM's boards (grafana.json, and
vllm_overview.json and vllm_service_status.json of 2026), each put to them as a board does: by
quantile, by rate, by mean, by label.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from e2e.berth_server import ROOT, Server, berth_serve, free_port, poll

PROMETHEUS = shutil.which("prometheus")
pytestmark = pytest.mark.skipif(
    PROMETHEUS is None, reason="no Prometheus here (Debian: prometheus)"
)

KEY = "a-key-for-metrics"
CHAT = {
    "model": "pocket",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "temperature": 0,
    "max_tokens": 8,
}
# As a ServiceMonitor sets it up: the key, and the labels of the pod.
_CONF = {
    "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
    "scrape_configs": [
        {
            "job_name": "models",
            "authorization": {"credentials": KEY},
            "static_configs": [{"labels": {"namespace": "ai", "pod": "pocket-0"}}],
        }
    ],
}
_OF = '{job=~"models", model_name=~"pocket", instance=~".*"}'
_HTTP = '{job=~"models", instance=~".*"}'


def of(**labels: str) -> str:
    """The selector of a model's figures, narrowed."""
    more = "".join(f', {name}="{value}"' for name, value in labels.items())
    return _OF.replace("}", more + "}")


_HISTOGRAMS = [
    "vllm:e2e_request_latency_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:iteration_tokens_total",
    "vllm:request_decode_time_seconds",
    "vllm:request_generation_tokens",
    "vllm:request_inference_time_seconds",
    "vllm:request_max_num_generation_tokens",
    "vllm:request_params_max_tokens",
    "vllm:request_params_n",
    "vllm:request_prefill_time_seconds",
    "vllm:request_prompt_tokens",
    "vllm:request_queue_time_seconds",
    "vllm:request_time_per_output_token_seconds",
    "vllm:time_per_output_token_seconds",
    "vllm:time_to_first_token_seconds",
]
_COUNTERS = [
    "vllm:generation_tokens_total",
    "vllm:num_preemptions_total",
    "vllm:prefix_cache_hits_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prompt_tokens_total",
    "vllm:request_success_total",
]
_GAUGES = ["vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"]
_BY = {
    "vllm:num_requests_waiting_by_reason": ("reason", ["capacity", "deferred"]),
    "vllm:prompt_tokens_by_source_total": ("source", ["local_compute", "local_cache_hit"]),
    "vllm:request_success_total": ("finished_reason", ["stop", "length", "abort", "error"]),
}


def queries() -> dict[str, str]:
    """By what they show."""
    found = {}
    for name in _HISTOGRAMS:
        within = f"rate({name}_bucket{_OF}[30s])"
        found[f"{name} p95"] = f"histogram_quantile(0.95, sum by (le) ({within}))"
        mean = f"sum(rate({name}_sum{_OF}[30s])) / (sum(rate({name}_count{_OF}[30s])) > 0)"
        found[f"{name} mean"] = mean
    for name in _COUNTERS:
        found[name] = f"sum by (model_name) (rate({name}{_OF}[30s]))"
    for name in _GAUGES:
        found[name] = f"max by (model_name, engine) ({name}{_OF})"
    for name, (label, values) in _BY.items():
        for value in values:
            found[f"{name} {value}"] = f"sum({name}{of(**{label: value})})"
    found["hit rate"] = (
        f"sum(rate(vllm:prefix_cache_hits_total{_OF}[30s])) / "
        f"(sum(rate(vllm:prefix_cache_queries_total{_OF}[30s])) > 0)"
    )
    found["within a second"] = (
        f"sum(rate(vllm:time_to_first_token_seconds_bucket{of(le='1.0')}[30s]))"
        f" / (sum(rate(vllm:time_to_first_token_seconds_count{_OF}[30s])) > 0)"
    )
    found["online"] = f"max(vllm:engine_sleep_state{of(sleep_state='awake')}) == 1"
    found["cache"] = "vllm:cache_config_info{block_size=~'[0-9]+', num_gpu_blocks=~'[0-9]+'}"
    found["by status"] = f"sum by (status) (rate(http_requests_total{_HTTP}[30s]))"
    found["by endpoint"] = (
        f"sum by (handler) (rate(http_request_duration_seconds_sum{_HTTP}[30s])) / "
        f"(sum by (handler) (rate(http_request_duration_seconds_count{_HTTP}[30s])) > 0)"
    )
    for name in ("process_resident_memory_bytes", "process_start_time_seconds"):
        found[name] = name + _HTTP
    found["cpu"] = f"rate(process_cpu_seconds_total{_HTTP}[30s])"
    return found


class Prometheus:
    """A running one."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=20).json()
        assert answer["status"] == "success", answer
        return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]

    def has_data(self, query: str) -> bool:
        return any(not math.isnan(value) for _, value in self.ask(query))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {"BERTH_API_KEY": KEY}
    folder = tmp_path_factory.mktemp("berth")
    with berth_serve(folder, "--threads", "1", environment=environment) as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    conf: Any = json.loads(json.dumps(_CONF))
    conf["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{server.port}"]
    (folder / "prometheus.yml").write_text(json.dumps(conf))  # JSON is YAML
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(PROMETHEUS), f"--config.file={folder / 'prometheus.yml'}",
             f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
    running = Prometheus(f"http://127.0.0.1:{port}")
    try:
        poll(running.ready, 60, "Prometheus' start")
        yield running
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def used(server: Server, prometheus: Prometheus) -> Prometheus:
    """Prometheus has read the server before, between and after a few requests."""
    key = {"Authorization": f"Bearer {KEY}"}
    poll(lambda: prometheus.has_data('up{job="models"} == 1'), 30, "the first reading")
    # A rate needs figures from before a request and after it.
    for count in (1, 2):
        for body in (CHAT, {**CHAT, "max_tokens": 1}, {**CHAT, "stream": True}):
            status, _ = server.call("/v1/chat/completions", body, headers=key)
            assert status == 200
        assert (
            server.call("/v1/chat/completions", {**CHAT, "temperature": -1}, headers=key)[0] == 400
        )
        ended = f"sum(vllm:request_success_total{_OF}) >= {3 * count}"
        poll(lambda query=ended: prometheus.has_data(query), 30, ended)
    return prometheus


@pytest.mark.parametrize(("shows", "query"), queries().items(), ids=queries())
def test_every_query_of_the_boards_has_data(used: Prometheus, shows: str, query: str) -> None:
    poll(lambda: used.has_data(query), 20, f"data for {shows}: {query}")


def test_the_charts_own_dashboard_has_data(used: Prometheus) -> None:
    board = json.loads((ROOT / "charts/model/files/dashboard.json").read_text())
    asked = [(p["title"], target["expr"]) for p in board["panels"] for target in p["targets"]]
    assert len(asked) == 21
    for title, query in asked:
        for name, value in (
            ("$namespace", "ai"),
            ("$model", "pocket"),
            ("$__rate_interval", "30s"),
        ):
            query = query.replace(name, value)
        poll(lambda query=query: used.has_data(query), 20, f"data in the panel {title}")


def test_the_figures_are_those_of_the_requests(used: Prometheus) -> None:
    def total(query: str) -> float:
        return sum(value for _, value in used.ask(query))

    assert total(f"vllm:request_success_total{_OF}") == 6
    assert total(f"vllm:request_generation_tokens_count{_OF}") == 6
    assert total(f"vllm:request_params_max_tokens_sum{_OF}") == 2 * (8 + 1 + 8)
    prompts = total(f"vllm:prompt_tokens_total{_OF}")
    assert total(f"vllm:request_prompt_tokens_sum{_OF}") == prompts
    assert total(f"vllm:prompt_tokens_by_source_total{_OF}") == prompts
    assert total('http_requests_total{status="4xx", handler=~"/v1/.*"}') == 2


def test_a_server_that_fails_shows_in_the_ratio_of_5xx(server: Server, used: Prometheus) -> None:
    """The last: it ends the engine. Its answers of 503 while it started were read before."""
    failed = _HTTP.replace("}", ', status="5xx"}')
    ratio = (
        f"(sum(rate(http_requests_total{failed}[30s])) or vector(0))"
        f" / (sum(rate(http_requests_total{_HTTP}[30s])) > 0)"
    )
    assert [value for _, value in used.ask(ratio)] == [0.0]
    assert used.has_data('http_requests_total{status="5xx"}')
    for pid in server.engine_pids():
        os.kill(pid, signal.SIGKILL)
    poll(lambda: server.call("/readyz")[0] == 503, 30, "a refusal")
    poll(lambda: [v for _, v in used.ask(ratio) if v > 0], 30, "a ratio above 0")
    poll(server.is_ready, what="the next engine")
    poll(lambda: used.has_data("berth_engine_deaths_total == 1"), 20, "the death that was counted")
    poll(lambda: used.has_data(queries()["online"]), 20, "the next engine, awake")
