"""A command whose extra is not installed says which one it is, in one sentence, and ends with 2."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from berth.cli.ends import extras_with
from berth.cli.main import _COMMANDS
from cli.fit_hub import hub
from cli.without_extras import berth, installed_with
from serving.tiny_model import hugging_face_folder

POCKET = "presets/pocket/weights"
# What each command is asked, and the extras that together are enough for it.
CALLS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "serve": (["--port", "-1"], ("server", "engine")),
    "chat": (["--help"], ()),
    "keys": (["list", "--state-dir", "/nowhere"], ("server",)),
    "config": (["show"], ("server",)),
    "import": (["--help"], ()),
    "fit": (["pocket", "--ram", "4"], ()),
    "check": (["pocket", "--cpu", "--kubeconfig", "/nowhere"], ("controller",)),
    "plan": (["workspace-examples/pocket/pocket.yaml", "--ram", "8"], ()),
    "controller": (["--kubeconfig", "/nowhere"], ("controller",)),
    "pull": (["pocket"], ("server",)),
    "build": (["--list"], ("server",)),
    "presets": ([], ()),
    "verify": ([POCKET], ("engine",)),
    "convert": ([POCKET, "TARGET"], ("engine",)),
    "bench": (["http://127.0.0.1:9"], ()),
}


def test_every_command_is_asked_here() -> None:
    assert CALLS.keys() == _COMMANDS.keys()


@pytest.mark.parametrize("command", CALLS)
def test_a_bare_install_names_the_extra_that_a_command_needs(command: str, tmp_path: Path) -> None:
    arguments, needed = CALLS[command]
    words = [str(tmp_path / "made") if word == "TARGET" else word for word in arguments]
    done = berth(tmp_path, command, *words)
    assert "Traceback" not in done.stderr
    if not needed:
        assert "pip install" not in done.stderr
        return
    (said,) = [line for line in done.stderr.splitlines() if line]
    assert re.fullmatch(
        rf"Error: berth {command} needs [a-z_]+, which is not installed here: "
        rf"pip install 'berth\[{','.join(needed)}\]'",
        said,
    )
    assert done.returncode == 2
    assert done.stdout == ""


@pytest.mark.parametrize("command", [name for name, (_, needed) in CALLS.items() if needed])
def test_the_extra_that_is_named_is_enough(command: str, tmp_path: Path) -> None:
    arguments, needed = CALLS[command]
    words = [str(tmp_path / "made") if word == "TARGET" else word for word in arguments]
    done = berth(tmp_path, command, *words, extras=needed)
    assert "Traceback" not in done.stderr
    assert "pip install" not in done.stderr


def test_a_server_without_an_engine_says_so_before_it_starts_one(tmp_path: Path) -> None:
    done = berth(tmp_path, "serve", "pocket", "--port", "0", extras=("server",))
    assert done.returncode == 2
    assert done.stderr == (
        "Error: berth serve needs torch, which is not installed here: "
        "pip install 'berth[server,engine]'\n"
    )


def test_a_model_of_the_other_engine_names_the_other_extra(tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path / "model")
    done = berth(
        tmp_path,
        *("serve", str(folder), "--engine", "transformers", "--port", "0"),
        extras=("server", "engine"),
    )
    assert done.returncode == 2
    assert done.stderr == (
        "Error: berth serve needs transformers, which is not installed here: "
        "pip install 'berth[transformers]'\n"
    )


def test_fit_needs_more_than_itself_only_for_a_hub(tmp_path: Path) -> None:
    """Heads of files on disk, Meta's pickled ones among them, it reads by itself."""
    done = berth(tmp_path, "fit", POCKET, "--ram", "4")
    assert (done.returncode, done.stderr) == (0, "")
    done = berth(tmp_path, "fit", "someone/something", "--ram", "4")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: berth fit needs httpx, which is not installed here: ")


def test_the_charts_hook_reads_a_hub_with_the_controllers_extra_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its image has no huggingface_hub; a model may be one of the hub all the same."""
    with hub() as running:
        config = {
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "vocab_size": 64,
            "intermediate_size": 96,
            "max_position_embeddings": 64,
            "torch_dtype": "float32",
        }
        running.files["someone/small/config.json"] = json.dumps(config).encode()
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        done = berth(tmp_path, "fit", "someone/small", "--ram", "4", extras=("controller",))
    assert done.returncode == 0, done.stderr
    assert "someone/small fits on" in done.stdout


def test_an_extra_is_found_by_the_packages_own_metadata() -> None:
    assert extras_with("kubernetes") == ["controller"]
    assert extras_with("huggingface_hub") == ["server"]  # as it is imported
    assert extras_with("httpx") == ["server", "controller"]
    assert extras_with("click") == []
    assert "torch" in installed_with(["engine"])
    assert "torch" not in installed_with(["server", "controller"])
