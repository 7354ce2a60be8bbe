"""The benchmark's table shows medians of pairs, shares of the machine, and every failure."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import report
from benchmarks.machine import slug
from benchmarks.shapes import SHAPES

GENERATE = "transformers generate"


def cell(level: int | str, engine: str, number: int, rate: float) -> dict[str, Any]:
    spread = {"p50": 0.25, "p90": 0.3, "p99": 0.5}
    return {
        "level": level, "engine": engine, "round": number, "tokens_per_second": rate,
        "ttft": spread, "inter_token": spread, "output_tokens": 100,
        "server_cpu_per_token": 2e-4 if engine == "berth" else None,
        "client_cpu_per_token": 5e-5 if engine == "berth" else None,
    }  # fmt: skip


def failed(level: int | str, engine: str, number: int) -> dict[str, Any]:
    return {"level": level, "engine": engine, "round": number, "error": "out of memory"}


def shape(cells: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return {
        "name": "M", "rounds": 3, "levels": [1, 8], "input_tokens": 128, "output_tokens": 128,
        "engines": ["berth", GENERATE], "cells": cells, "failures": [], "starts": {},
        "ceilings": [
            {"bytes_per_second": 2e10, "bf16_flops": 1e12},
            {"bytes_per_second": 3e10, "bf16_flops": 2e12},
        ],
    } | changes  # fmt: skip


def record(shapes: list[dict[str, Any]], complete: bool = True) -> dict[str, Any]:
    machine = {"cpu": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "cores": 2, "python": "3.11",
               "cpu_features": ["amx_bf16"], "memory_gib": 24, "system": "Linux 6.1",
               "libraries": {"torch": "2.13.0"}}  # fmt: skip
    return {"date": "2026-11-21T06:00:00", "machine": machine, "complete": complete,
            "shapes": shapes}  # fmt: skip


def test_a_ratio_compares_runs_of_the_same_round_only() -> None:
    cells = [cell(8, "berth", number, rate) for number, rate in enumerate((40.0, 60.0, 100.0))]
    cells += [cell(8, GENERATE, 0, 20.0), failed(8, GENERATE, 1), cell(8, GENERATE, 2, 80.0)]
    assert report.pair_ratios(shape(cells), 8, GENERATE) == [2.0, 1.25]


def test_a_rival_that_fails_is_shown_as_failed_beside_the_runs_it_finished() -> None:
    cells = [cell(8, "berth", 0, 40.0), cell(8, GENERATE, 0, 20.0), failed(8, GENERATE, 1)]
    cells += [cell(1, "berth", 0, 10.0), failed(1, GENERATE, 0)]
    rows = {(row[0], row[1]): row for row in report.speed_rows(shape(cells))}
    assert rows["8", GENERATE][2] == "20.0"
    assert rows["8", GENERATE][5] == (
        "2.00 × (2.00 to 2.00) (1 of 2 runs failed: out of memory)"
    )  # fmt: skip
    assert rows["1", GENERATE][2] == "–"
    assert "1 of 1 runs failed: out of memory" in rows["1", GENERATE][5]
    assert rows["1", "berth"][2] == "10.0"


def test_shares_are_of_the_best_ceiling_measured() -> None:
    size = SHAPES["M"]
    rate = 0.8 * 3e10 / size.decode_bytes
    prefill = cell("prefill", "berth", 0, 1.0)
    prefill["ttft"] = {"p50": size.prefill_flops(size.prefill_tokens) / 1e12}
    (berth, _) = report.share_rows(shape([cell(1, "berth", 0, rate), prefill]))
    assert berth[2] == "80%"
    assert berth[4] == "50%"


def test_the_shapes_cost_what_the_limits_page_says() -> None:
    size = SHAPES["M"]
    table = size.vocabulary * size.hidden * 2
    assert size.decode_bytes + table == pytest.approx(2.2e9, rel=0.01)
    assert size.prefill_flops(1) == pytest.approx(2 * 0.97e9, rel=0.01)


def test_server_time_is_pooled_over_the_rounds() -> None:
    cells = [cell(8, "berth", n, 1.0) for n in range(3)]
    cells[0]["server_cpu_per_token"] = 0.0  # a run shorter than the kernel's clock step counts too
    cells[1]["server_cpu_per_token"] = 4e-4
    lines = report.overhead_lines(shape(cells))
    assert lines == ["8 at once: Berth's server process takes 200 µs of CPU per token, the load "
                     "client 50 µs"]  # fmt: skip


def test_an_unfinished_run_says_so_and_shows_what_it_has() -> None:
    half = shape([cell(1, "berth", 0, 10.0)], ceilings=[], failures=["generate did not start: x"])
    page = report.markdown(record([half], complete=False))
    assert "did not finish" in page
    assert "| 1 | berth | 10.0 |" in page
    assert "- Failed: generate did not start: x" in page
    assert "did not finish" not in report.markdown(record([half]))


def test_a_result_is_named_after_the_processor() -> None:
    assert slug(record([])["machine"]) == "intel-xeon-platinum-8481c-2-cores"
