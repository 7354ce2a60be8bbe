"""berth verify: what is damaged is listed by tensor, and a folder gets digests of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from berth.cli.verify import verify
from berth.models.weights.digests import NAME
from models.checkpoints import tiny_config, write_hf, write_meta


def run(*arguments: object) -> Result:
    return CliRunner().invoke(verify, [str(word) for word in arguments])


def flip(path: Path, at: int) -> None:
    whole = bytearray(path.read_bytes())
    whole[at] ^= 1
    path.write_bytes(whole)


def test_every_damaged_tensor_is_listed(tmp_path: Path) -> None:
    write_meta(tmp_path, tiny_config())
    path = tmp_path / "consolidated.00.pth"
    whole = path.read_bytes()
    for at in (len(whole) // 3, len(whole) // 2):
        flip(path, at)
    done = run(tmp_path)
    assert done.exit_code == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(said) == 2
    assert all("in consolidated.00.pth: its bytes are damaged" in line for line in said)
    assert len({line.split()[1] for line in said}) == 2


def test_a_folder_without_digests_gets_them_and_is_then_held_to_them(tmp_path: Path) -> None:
    write_hf(tmp_path, tiny_config())
    (tmp_path / "tokenizer.json").write_text("{}")
    done = run(tmp_path)
    assert (done.exit_code, done.stdout) == (0, "model.safetensors: no checksum is known of it\n")
    done = run(tmp_path, "--write")
    assert done.exit_code == 0
    assert f"written: {tmp_path / NAME}" in done.stdout
    done = run(tmp_path, "--json")
    answer = json.loads(done.stdout)
    assert answer["files"]["model.safetensors"] == f"21 tensors compared with {NAME}"
    assert answer["files"]["tokenizer.json"] == f"compared with {NAME}"
    assert answer["damaged"] == []
    flip(tmp_path / "model.safetensors", -9)
    done = run(tmp_path, "--json")
    assert done.exit_code == 1
    (damaged,) = json.loads(done.stdout)["damaged"]
    assert damaged.startswith("model.norm.weight in model.safetensors: its")
    before = (tmp_path / NAME).read_text()
    assert run(tmp_path, "--write").exit_code == 1  # damaged files get no digests
    assert (tmp_path / NAME).read_text() == before


def test_the_built_in_model_is_whole_under_its_name() -> None:
    done = run("pocket")
    assert done.exit_code == 0
    assert done.stdout == (
        "consolidated.00.pth: 57 tensors compared with the zip archive's directory\n"
    )


@pytest.mark.parametrize("model", ["no-such-model", "llama-2-7b", "someone/something"])
def test_what_is_not_here_is_said_so(model: str, tmp_path: Path) -> None:
    done = run(model)
    assert done.exit_code in (1, 2)
    assert "Traceback" not in done.output
    assert model in done.output
