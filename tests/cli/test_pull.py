"""berth pull prints the folder, or one sentence."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from berth.cli.pull import pull
from berth.models.weights.digests import NAME, known_digests
from presets.fake_hub import REPOSITORY, FakeHub, commit_of, serve


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    made = FakeHub()
    made.add_commit({"config.json": b"{}", "model.safetensors": b"x" * 1000})
    with serve(made):
        yield made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(pull, list(arguments))


def test_it_prints_the_folder(hub: FakeHub) -> None:
    result = run(REPOSITORY, "--mirror", hub.url)
    assert result.exit_code == 0, result.output
    assert (Path(result.stdout.strip()) / "model.safetensors").read_bytes() == b"x" * 1000
    assert f"someone/small at commit {commit_of(1)}: 2 files" in result.stderr


def test_it_fills_a_plain_folder_at_a_revision(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_commit({"config.json": b"{}", "model.safetensors": b"y" * 1000})
    to = tmp_path / "here"
    result = run(REPOSITORY, "--mirror", hub.url, "--to", str(to), "--revision", commit_of(1))
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{to}\n"
    assert (to / "model.safetensors").read_bytes() == b"x" * 1000


def test_a_variant_is_pulled_by_its_name(hub: FakeHub, tmp_path: Path) -> None:
    hub.add_commit(
        {"config.json": b"{}", "model.safetensors": b"x", "model.fp16.safetensors": b"half"}
    )
    to = tmp_path / "here"
    result = run(REPOSITORY, "--mirror", hub.url, "--to", str(to), "--variant", "fp16")
    assert result.exit_code == 0, result.output
    assert (to / "model.fp16.safetensors").read_bytes() == b"half"
    assert not (to / "model.safetensors").exists()


def test_what_was_left_out_is_said(hub: FakeHub) -> None:
    adapter = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"a"}
    hub.add_commit({"config.json": b"{}", "model.safetensors": b"x", **adapter})
    result = run(REPOSITORY, "--mirror", hub.url)
    assert result.exit_code == 0, result.output
    assert "the adapter beside the model (adapter_config.json) was left out" in result.stderr
    assert not (Path(result.stdout.strip()) / "adapter_config.json").exists()


def test_without_a_network_the_mirror_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(REPOSITORY, "--mirror", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "http://127.0.0.1:9 cannot be reached (ConnectError)" in result.stderr
    assert "name a mirror (HF_ENDPOINT, or --mirror of berth pull)" in result.stderr
    assert "pull again" not in result.stderr


def test_what_goes_wrong_is_one_sentence(hub: FakeHub) -> None:
    result = run("nobody/nothing", "--mirror", hub.url)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: there is no repository nobody/nothing at ")
    assert "Traceback" not in result.output


def test_what_the_catalogue_holds_itself_needs_no_pull() -> None:
    result = run("pocket")
    assert result.exit_code == 1
    assert "there is nothing to pull for pocket: they come with Berth" in result.stderr


def test_a_wrong_name_is_a_usage_error() -> None:
    result = run("lama-2-7b")
    assert result.exit_code == 2
    assert "did you mean llama-2-7b" in result.stderr


def test_what_was_pulled_has_digests_beside_it(hub: FakeHub) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(8)
    hub.add_commit({"config.json": b"{}", "model.safetensors": content})
    result = run(REPOSITORY, "--mirror", hub.url)
    assert result.exit_code == 0, result.output
    known = known_digests(Path(result.stdout.strip()))
    assert known["model.safetensors"].tensors == {"a": zlib.crc32(bytes(8))}
    assert known["config.json"].value == f"{zlib.crc32(b'{}'):08x}"


def test_a_file_that_is_no_safetensors_gets_none_and_that_is_said(hub: FakeHub) -> None:
    result = run(REPOSITORY, "--mirror", hub.url)
    assert "no digests were written beside the files: model.safetensors is no" in result.stderr
    assert not (Path(result.stdout.strip()) / NAME).exists()
