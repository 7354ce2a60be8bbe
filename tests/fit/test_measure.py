"""The measuring script serves what it says it serves; the same code runs where there is a GPU."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from click.testing import CliRunner

from berth.fit import fit
from berth.fit.machines import cpu_node
from berth.fit.points import Point, load_points
from berth.fit.units import GIB
from engines.native.harness import alone
from tools import fit_measure, fit_measure_gpu
from tools.fit_measure import Run

TINY = Run(
    layers=2,
    hidden=64,
    heads=4,
    kv_heads=2,
    intermediate=128,
    vocab=256,
    dtype="float32",
    context=64,
    concurrency=3,
    batch_tokens=32,
)


@pytest.mark.parametrize("tied", [False, True])
def test_random_weights_are_those_that_fit_counts(tied: bool) -> None:
    run = replace(TINY, tied=tied)
    weights = fit_measure_gpu.serve(asdict(run), alone())
    worst = fit(run.request(cpu_node(GIB))).worst
    assert worst is not None
    assert weights == worst.of("weights")


def test_without_a_gpu_it_says_so_and_keeps_nothing() -> None:
    before = fit_measure.POINTS_FILE.read_bytes()
    result = CliRunner().invoke(fit_measure.main, ["gpu"])
    assert result.exit_code == 1
    assert "no CUDA GPU is available" in result.output
    assert fit_measure.POINTS_FILE.read_bytes() == before


def test_a_run_again_replaces_its_point(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    class File:
        def write_text(self, text: str, encoding: str) -> None:
            written.append(text)

    monkeypatch.setattr(fit_measure, "POINTS_FILE", File())
    points = load_points()
    again: Point = replace(points[0], measured_bytes=points[0].measured_bytes + 1)
    fit_measure._keep([again])
    lines = written[0].splitlines()
    assert len(lines) == len(points) + 1
    assert lines[-1].endswith(str(again.measured_bytes))
