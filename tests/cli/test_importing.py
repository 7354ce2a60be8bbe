"""berth import: the berth.yaml on standard output, what is left out on standard error."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from berth.cli.config_file import load
from berth.cli.importing import import_
from berth.cli.main import main


def test_what_is_printed_is_a_configuration_that_serve_takes(tmp_path: Path) -> None:
    old = tmp_path / "config.yaml"
    old.write_text("model_family: huggingface\nsetup_params: {repo_id: a/b}\nhost: 127.0.0.1\n")
    done = CliRunner().invoke(
        main, ["import", "llm-api", str(old), "--env"], env={"LLM_API_PORT": "81"}
    )
    assert done.exit_code == 0, done.output
    assert "model_family: not carried over: the engine is chosen by" in done.stderr
    new = tmp_path / "berth.yaml"
    new.write_text(done.stdout)
    options = load(new, {}).options
    assert options == {"models": ["a/b"], "model_id": "b", "host": "127.0.0.1", "port": 81}
    without = CliRunner().invoke(import_, ["llm-api", str(old)], env={"LLM_API_PORT": "81"})
    assert "port: 8000" in without.stdout


def test_a_data_folder_is_read_with_what_it_has(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "config.json").write_text('{"p": {"model": "m"}}')
    (data / "api_keys.json").write_text('{"0": "hidden"}')
    done = CliRunner().invoke(import_, ["local-llm", str(data)])
    assert done.exit_code == 0, done.output
    assert f"source: {tmp_path}/models/m" in done.stdout
    assert "api_keys.json: 0: not carried over" in done.stderr
    assert "hidden" not in done.output


def test_a_file_that_cannot_be_read_is_said_by_name(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_bytes(b"\xff\xfe\x00")
    calls = (
        ["llama-api", str(tmp_path / "bad.py")],
        ["llama-api", str(tmp_path / "none")],
        ["node", str(tmp_path), str(tmp_path)],
        ["local-llm", str(tmp_path)],
    )
    for words in calls:
        done = CliRunner().invoke(import_, words)
        assert done.exit_code == 2, done.output
        assert str(tmp_path) in done.output
