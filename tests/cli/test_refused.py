"""What the folder alone decides is said once, with exit code 2, before an engine is started."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from berth.checkpoint.config import ModelConfig
from berth.cli.main import main
from e2e.berth_server import ROOT
from models.checkpoints import random_tensors, tiny_config, write_hf, write_meta
from serving.tiny_model import VOCAB, byte_level_tokenizer, sentencepiece_model

POCKET = ROOT / "presets/pocket/weights"
_POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def config() -> ModelConfig:
    return tiny_config(vocab_size=VOCAB)


@pytest.fixture
def meta(tmp_path: Path) -> Path:
    folder = tmp_path / "meta"
    write_meta(folder, config(), random_tensors(config(), seed=1), shards=2)
    (folder / "tokenizer.model").write_bytes(sentencepiece_model())
    return folder


@pytest.fixture
def hf(tmp_path: Path) -> Path:
    folder = tmp_path / "hf"
    write_hf(folder, config(), random_tensors(config(), seed=1), files=2)
    byte_level_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def said(*arguments: str) -> str:
    """The one sentence of a refusal."""
    done = CliRunner().invoke(main, ["serve", *arguments, "--port", "0"])
    assert done.exit_code == 2, done.output
    assert "engine" not in done.output.partition("Error: ")[0]
    return " ".join(done.output.partition("Error: ")[2].split())


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: truncate(f / "consolidated.01.pth"), "consolidated.01.pth: the file is trunc"),
        (lambda f: (f / "consolidated.00.pth").write_text(_POINTER), "is a pointer of git-lfs"),
        (lambda f: (f / "consolidated.00.pth").write_bytes(b""), "consolidated.00.pth is empty"),
        (lambda f: [p.unlink() for p in f.glob("*.pth")], "has params.json and no weights"),
        (lambda f: (f / "params.json").write_text("{"), "params.json is not valid JSON"),
        (lambda f: [p.unlink() for p in f.iterdir()], "it holds nothing"),
    ],
)
def test_a_spoilt_folder_of_metas_layout(
    meta: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    spoil(meta)
    assert sentence in said(str(meta))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda f: truncate(f / "model-00002-of-00002.safetensors"),
            "model-00002-of-00002.safetensors: the file is truncated: it has",
        ),
        (
            lambda f: (f / "model-00001-of-00002.safetensors").unlink(),
            "lacks model-00001-of-00002.safetensors, which model.safetensors.index.json names",
        ),
        (
            lambda f: (f / "model-00001-of-00002.safetensors").write_text(_POINTER),
            "is a pointer of git-lfs",
        ),
        (
            lambda f: [p.unlink() for p in f.glob("*.safetensors*")],
            "has config.json and no weights: no *.safetensors is there",
        ),
    ],
)
def test_a_spoilt_folder_of_hugging_faces(
    hf: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    spoil(hf)
    assert sentence in said(str(hf))


def change(folder: Path, **keys: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


@pytest.mark.parametrize("layout", ["meta", "hf"])
@pytest.mark.parametrize(
    "spoil", [truncate, lambda f: f.write_text(_POINTER), lambda f: f.write_bytes(b"")]
)
def test_fit_refuses_a_spoilt_file_in_the_same_words(
    layout: str, spoil: Callable[[Path], object], request: pytest.FixtureRequest
) -> None:
    """It was a traceback with exit code 1, which is "does not fit"."""
    folder = request.getfixturevalue(layout)
    spoil(next(iter(sorted([*folder.glob("*.pth"), *folder.glob("*.safetensors")]))))
    done = CliRunner().invoke(main, ["fit", str(folder), "--ram", "8"])
    assert done.exit_code == 2, done.output
    assert " ".join(done.output.partition("Error: ")[2].split()) == said(str(folder))


def test_fit_passes_on_what_the_reader_of_weights_says(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(POCKET, folder)
    (folder / "consolidated.00.pth").write_bytes(b"no archive at all")
    done = CliRunner().invoke(main, ["fit", str(folder), "--ram", "8"])
    assert done.exit_code == 2, done.output
    assert "consolidated.00.pth" in done.output
    assert "Traceback" not in done.output


def test_a_model_that_the_engine_does_not_know(hf: Path) -> None:
    change(hf, rope_scaling={"type": "dynamic", "factor": 4.0})
    told = said(str(hf), "--engine", "native")
    assert 'rope_scaling.type is "dynamic"' in told
    assert "--engine transformers may run it" in told


@pytest.mark.parametrize("layout", ["meta", "hf"])
def test_a_degree_that_does_not_divide_the_model(
    layout: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(layout)
    sentence = said(str(folder), "--degree", "3")
    assert sentence.startswith(
        f"tensor-parallel degree 3 does not divide {config().num_heads} head"
    )
    assert "degrees that do: 1, 2" in sentence


def test_an_index_that_writes_names_as_paths_is_no_reason(hf: Path) -> None:
    index = hf / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"] = {key: f"./{name}" for key, name in content["weight_map"].items()}
    index.write_text(json.dumps(content))
    done = CliRunner().invoke(main, ["serve", str(hf), "--port", "-1"])
    assert "port must be" in done.output, "the folder was passed"


def test_what_only_the_tensors_tell_is_said_once(tmp_path: Path) -> None:
    """A shape that does not match: the engine finds it, and the log has it in one line."""
    folder = tmp_path / "other"
    shutil.copytree(POCKET, folder)
    params = json.loads((folder / "params.json").read_text())
    (folder / "params.json").write_text(json.dumps(params | {"dim": 512}))
    done = subprocess.run(
        [sys.executable, "-m", "berth.cli.main", "serve", str(folder), "--port", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "ERROR" in line]
    assert "layers.0.attention.wo.weight" in line
    assert line.endswith("; it is given up")
