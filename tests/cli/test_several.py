"""What `berth serve` makes of several models, up to the point where it would listen."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import berth.cli.serve as command
from berth.cli import several as module
from berth.cli.several import Several
from berth.limits.memory import Memory
from berth.server.metrics import Metrics

POCKET = Path(__file__).parents[2] / "presets/pocket/weights"
GIB = 2**30


@pytest.fixture
def second(tmp_path: Path) -> str:
    """The built-in model under another name."""
    folder = tmp_path / "second"
    shutil.copytree(POCKET, folder)
    return str(folder)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command; gives what it would serve: several models, or one."""
    seen: list[Any] = []

    async def fake(served: Any, *_: Any) -> int:
        seen.append(served)
        return 0

    monkeypatch.setattr(command, "_serve", fake)
    monkeypatch.setattr(command, "_serve_several", fake)
    monkeypatch.setattr(module, "memory", lambda: Memory(16 * GIB, 12 * GIB))
    monkeypatch.setattr(module, "visible_gpus", lambda: 0)

    def run(*arguments: str, **environment: str) -> Any:
        done = CliRunner().invoke(command.serve, arguments, env=environment)
        assert done.exit_code == 0, done.output
        return seen[-1]

    return run


def refusal(*arguments: str) -> str:
    done = CliRunner().invoke(command.serve, arguments)
    assert done.exit_code == 2, done.output
    return " ".join(done.output.split())


def test_several_models_share_memory_as_fit_counts_it(serve: Any, second: str) -> None:
    several = serve("pocket", second, "--keep-alive", "1h", "--pin", "second")
    assert isinstance(several, Several)
    assert [serving.model_id for serving in several.servings] == ["pocket", "second"]
    assert [candidate.pinned for candidate in several.candidates] == [False, True]
    assert several.limits.keep_alive == 3600
    assert several.limits.memory is not None
    assert 10 * GIB < several.limits.memory < 12 * GIB  # free, less a margin of the whole
    weights = sum(file.stat().st_size for file in POCKET.glob("consolidated.*.pth"))
    assert weights > 0
    for candidate, serving in zip(several.candidates, several.servings, strict=True):
        cache = serving.engine.kv_cache_bytes
        assert cache is not None
        assert cache > 0  # of that size, and no more: the others' room is not taken
        assert weights + cache < candidate.bytes < GIB


def test_a_single_model_runs_from_start_to_end_unless_it_is_to_end(serve: Any) -> None:
    assert serve("pocket").model_id == "pocket"
    assert serve("pocket").engine.kv_cache_bytes is None
    several = serve("pocket", "--keep-alive", "90s")
    assert several.limits.keep_alive == 90
    unnamed = serve("--keep-alive=-1", BERTH_MODEL="pocket")
    assert unnamed.limits.keep_alive is None
    assert [serving.model_id for serving in unnamed.servings] == ["pocket"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("300", 300), ("5m", 300), ("0", 0), ("1.5h", 5400), ("-1m", None)]
)
def test_times_are_written_as_for_ollama(serve: Any, text: str, seconds: float | None) -> None:
    assert serve("pocket", f"--keep-alive={text}").limits.keep_alive == seconds


def test_the_images_weights_are_its_own_models(serve: Any, second: str) -> None:
    image = {"BERTH_MODEL": "llama-2-7b-chat", "BERTH_WEIGHTS": second}
    several = serve("pocket", second, **image)
    assert [serving.engine.model for serving in several.servings] == [str(POCKET), second]


def test_on_a_gpu_one_is_loaded_unless_each_has_its_part(
    serve: Any, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "visible_gpus", lambda: 1)
    several = serve("pocket", second)
    assert (several.limits.max_loaded, several.limits.memory) == (1, None)
    said = refusal("pocket", second, "--max-loaded", "2")
    assert "--max-loaded 2 on a GPU" in said
    assert "--kv-cache-memory" in said
    divided = serve("pocket", second, "--max-loaded", "2", "--kv-cache-memory", "1G")
    assert divided.limits.max_loaded == 2
    assert {serving.engine.kv_cache_bytes for serving in divided.servings} == {GIB}


def test_a_model_that_can_never_fit_is_refused_with_its_terms(
    serve: Any, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "memory", lambda: Memory(GIB, GIB // 4))
    said = refusal("pocket", second)
    assert "pocket does not fit" in said
    assert "weights:" in said
    assert "kv cache:" in said


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--name", "x"], "--name is of one model, and several are given"),
        (["--tokenizer", "x"], "--tokenizer is of one model"),
        (["--chat-template", "plain"], "--chat-template is of one model"),
        (["--weights", "x"], "--weights is of one model"),
        (["--nnodes", "2"], "leave out --nnodes"),
        (["--pin", "third"], "--pin third: the models are pocket, second"),
        (["--keep-alive", "soon"], "should be a time"),
        (["--max-loaded", "0"], "--max-loaded"),
    ],
)
def test_what_does_not_go_with_several_models_is_named(
    serve: Any, second: str, arguments: list[str], word: str
) -> None:
    assert word in refusal("pocket", second, *arguments)


def test_options_of_several_models_are_refused_for_one(serve: Any) -> None:
    assert "--pin is for several models" in refusal("pocket", "--pin", "pocket")
    assert "--max-loaded is for several models" in refusal("pocket", "--max-loaded", "1")


def test_two_models_of_one_name_are_refused(serve: Any) -> None:
    assert "two models are called pocket" in refusal("pocket", "pocket")


def test_what_is_wrong_with_one_of_them_is_said_under_its_name(serve: Any, tmp_path: Path) -> None:
    assert f"{tmp_path}/none:" in refusal("pocket", f"{tmp_path}/none")


def test_a_file_s_models_have_keys_of_their_own(serve: Any, second: str, tmp_path: Path) -> None:
    path = tmp_path / "berth.yaml"
    path.write_text(
        "models:\n"
        "  small: {source: pocket, threads: 2, kv_cache_memory: 64M, pin: true}\n"
        "  other: {source: pocket, weights: second, threads: 1, max_model_len: 32}\n"
        "aliases: {gpt-4: other}\n"
        "limits: {keep_alive: 1h, max_loaded: 2}\n"
    )
    several = serve(
        "--config", str(path), "--max-num-seqs", "3", BERTH_MODEL="x", BERTH_WEIGHTS="y"
    )
    assert isinstance(several, Several)
    engines = {each.model_id: each.engine for each in several.servings}
    assert list(engines) == ["small", "other"]
    assert [engine.threads for engine in engines.values()] == [2, 1]
    assert [engine.max_num_seqs for engine in engines.values()] == [3, 3]
    assert engines["small"].kv_cache_bytes == 64 * 2**20
    assert engines["other"].max_model_len == 32
    assert engines["other"].model == second
    assert [one.pinned for one in several.candidates] == [True, False]
    assert (several.limits.keep_alive, several.limits.max_loaded) == (3600.0, 2)
    models = several.models(Metrics(), {"gpt-4": "other"})
    assert models.get("gpt-4").name == "other"
    assert "leave MODEL out" in refusal("pocket", "--config", str(path))


def test_every_folder_in_one_that_an_engine_serves_is_served(
    serve: Any, second: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "notes.txt").write_text("no model")
    alone = serve("--models-dir", str(tmp_path))
    assert [serving.model_id for serving in alone.servings] == ["second"]
    both = serve("pocket", "--models-dir", str(tmp_path))
    assert [serving.model_id for serving in both.servings] == ["pocket", "second"]
    said = CliRunner().invoke(command.serve, ["--models-dir", str(tmp_path)]).output
    assert f"{tmp_path}/empty is not served" in said
    assert ".cache" not in said


def test_a_folder_without_any_model_is_refused(serve: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no engine serves any folder in" in refusal("--models-dir", str(tmp_path))
    assert "--weights is of one model" in refusal("--models-dir", str(tmp_path), "--weights", "x")
    assert "--models-dir" in refusal("--models-dir", str(tmp_path / "none"))
