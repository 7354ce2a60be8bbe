"""`berth bench` reports what it measured, and refuses what makes no sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from berth.cli.bench import bench
from cli.double import Double, serving


def run(*arguments: str, key: str | None = None) -> Result:
    env = {"BERTH_API_KEY": key, "COLUMNS": "200"}
    return CliRunner().invoke(bench, list(arguments), env=env)


def test_a_table_and_a_record_for_each_concurrency(tmp_path: Path) -> None:
    double, record = Double(), tmp_path / "out.json"
    with serving(double):
        result = run(double.url, "--concurrency", "1,3", "--requests", "6", "--output-tokens", "4",
                     "--input-tokens", "7", "--json", str(record), key="k")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "output tokens/s" in result.stdout
    runs = json.loads(record.read_bytes())["runs"]
    assert [(r["concurrency"], r["requests"], r["output_tokens"]) for r in runs] == [
        (1, 6, 24),
        (3, 6, 24),
    ]
    assert all(r["client_cpu_per_token"] > 0 and r["ttft"]["p50"] > 0 for r in runs)
    bodies = double.bodies("/v1/completions")
    assert len(bodies) == 1 + 6 + 6, "a warm-up request comes first"
    assert all(len(body["prompt"]) == 7 for body in bodies)
    assert len({tuple(body["prompt"]) for body in bodies}) == 13, "no prefix cache can help"
    assert bodies[0]["model"] == "tiny"
    assert all(headers["authorization"] == "bearer k" for _, headers, _ in double.requests)
    assert "bearer k" not in record.read_text().lower()


def test_random_arrivals_instead_of_a_number_of_clients() -> None:
    double = Double()
    with serving(double):
        result = run(double.url, "--rate", "200", "--requests", "5", "--output-tokens", "4")
    assert result.exit_code == 0, result.output
    assert "requests per second" in result.stdout
    assert len(double.bodies("/v1/completions")) == 1 + 5


def test_answers_that_end_early_are_mentioned() -> None:
    double = Double(counts_tokens=False, tokens_per_event=2)
    with serving(double):
        result = run(double.url, "--concurrency", "1", "--requests", "2", "--output-tokens", "4")
    assert "2 answers were shorter than asked" in result.stdout
    assert "each event counts as one" in result.stdout


def test_a_failing_server_ends_with_1_and_its_own_sentence() -> None:
    double = Double(refuse=(503, b'{"error":{"message":"draining"}}'))
    with serving(double):
        result = run(double.url)
    assert result.exit_code == 1
    assert "the server refused (503): draining" in result.stderr


def test_nobody_listening_is_said_with_what_to_do(unused_port: int) -> None:
    result = run(f"http://127.0.0.1:{unused_port}")
    assert result.exit_code == 1
    assert f"nothing answers at http://127.0.0.1:{unused_port}" in result.stderr
    assert "berth serve" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--concurrency", "1,zwei"], "1,8,32"),
        (["--concurrency", "0"], "from 1 to"),
        (["--requests", "0"], "--requests"),
        (["--requests", "4", "--concurrency", "8"], "cannot keep 8 clients busy"),
        (["--rate", "nan"], "above 0"),
        (["--rate", "-1"], "above 0"),
        (["--rate", "1", "--concurrency", "8"], "exclude each other"),
        (["--input-tokens", "0"], "--input-tokens"),
        (["--dialect", "grpc"], "--dialect"),
        (["--json", "/no/such/folder/x.json"], "no folder"),
        (["--api-key", "a b"], "printable ASCII"),
        (["http://x:99999"], "http://localhost:5000"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_nonsense_is_refused_before_anything_is_sent(arguments: list[str], sentence: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
