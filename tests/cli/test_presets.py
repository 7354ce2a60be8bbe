"""berth presets lists the catalogue, and shows one of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from berth.cli.main import main
from berth.cli.presets import count_words
from berth.presets.catalogue import load_presets


def run(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["presets", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_list_has_every_preset() -> None:
    named = [line.split()[0] for line in run().splitlines()]
    assert named == ["NAME", *load_presets()]


def test_a_narrow_terminal_cuts_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("berth.cli.columns.terminal_width", lambda: 40)
    lines = run().splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", *load_presets()]
    assert max(map(len, lines)) <= 40
    assert lines[1].endswith("…")


def test_json_has_every_preset_with_its_facts() -> None:
    rows = {row["name"]: row for row in json.loads(run("--json"))}
    assert set(rows) == set(load_presets())
    chat = rows["llama-2-7b-chat"]
    assert chat["hub"] == "meta-llama/Llama-2-7b-chat-hf"
    assert chat["kaito"]["total_memory_gb"] == 14
    assert chat["architecture"] == "LlamaForCausalLM"
    assert "pooling" not in chat
    assert Path(rows["pocket"]["weights"]).is_dir()


def test_one_is_shown_whole() -> None:
    shown = run("falcon-40b-instruct")
    assert "tiiuae/falcon-40b-instruct" in shown
    assert "num_kv_heads 8" in shown
    assert "total_memory_gb 90" in shown
    assert json.loads(run("falcon-40b-instruct", "--json"))["template"] == "falcon-instruct"


def test_what_no_engine_runs_says_why() -> None:
    shown = run("e5-large-v2")
    assert "none yet" in shown
    assert "no engine of ours computes embeddings yet" in shown


def test_a_family_is_listed() -> None:
    rows = json.loads(run("llama-2", "--json"))
    assert len(rows) == 6
    assert {row["family"] for row in rows} == {"llama-2"}


def test_a_wrong_name_is_a_usage_error_with_the_nearest() -> None:
    result = CliRunner().invoke(main, ["presets", "lama-2-7b"])
    assert result.exit_code == 2
    assert "did you mean llama-2-7b" in result.output


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (999_960_000, "1 B"),
        (999_400_000, "999 M"),
        (1_540_000_000_000, "1.54 T"),
        (6_738_415_616, "6.74 B"),
        (134_515_008, "135 M"),
        (5_181, "5,181"),
        (None, "-"),
    ],
)
def test_counts_are_said_in_words(count: int | None, words: str) -> None:
    assert count_words(count) == words
