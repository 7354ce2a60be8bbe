"""What a container image says through its environment, and what its owner says instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from berth.cli import serve as command
from berth.cli.degree import automatic_degree, visible_gpus
from berth.cli.served_model import find_model
from berth.serving.open_model import ServingConfig
from models.checkpoints import random_tensors, tiny_config, write_hf, write_meta
from serving.tiny_model import meta_folder

POCKET = str(Path(__file__).parents[2] / "presets/pocket/weights")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `berth serve` up to the point where it would listen; gives what it would serve."""
    seen: list[tuple[ServingConfig, Any]] = []

    async def fake(serving: ServingConfig, aliases: Any, settings: Any, *_: Any) -> int:
        seen.append((serving, settings))
        return 0

    monkeypatch.setattr(command, "_serve", fake)

    def run(*arguments: str, **environment: str) -> tuple[ServingConfig, Any]:
        done = CliRunner().invoke(command.serve, arguments, env=environment)
        assert done.exit_code == 0, done.output
        return seen[-1]

    return run


def test_an_image_serves_its_weights_under_its_models_name(served: Any) -> None:
    image = {"BERTH_MODEL": "pocket", "BERTH_WEIGHTS": POCKET, "BERTH_HOST": "0.0.0.0"}
    serving, settings = served("--max-model-len", "128", BERTH_PORT="5001", **image)
    assert (serving.model_id, serving.engine.model) == ("pocket", POCKET)
    assert (settings.host, settings.port) == ("0.0.0.0", 5001)
    assert serving.engine.max_model_len == 128


def test_another_model_on_the_command_line_is_not_the_images(served: Any, tmp_path: Path) -> None:
    image = {"BERTH_MODEL": "llama-2-7b-chat", "BERTH_WEIGHTS": str(tmp_path)}
    (tmp_path / "params.json").touch()
    assert served("pocket", **image)[0].engine.model == POCKET


@pytest.mark.parametrize("called", ["llama-2-7b-chat", "meta-llama/Llama-2-7b-chat-hf"])
def test_the_images_own_model_on_the_command_line_is_the_one_in_it(
    served: Any, tmp_path: Path, called: str
) -> None:
    """charts/model names its model whatever the image is; nothing is pulled for one that has it."""
    folder = meta_folder(tmp_path / "weights")
    write_meta(folder, tiny_config(), random_tensors(tiny_config()), shards=1)
    image = {"BERTH_MODEL": "llama-2-7b-chat", "BERTH_WEIGHTS": str(folder)}
    serving, _ = served(called, **image)
    assert (serving.model_id, serving.engine.model) == ("llama-2-7b-chat", str(folder))


def test_an_image_without_weights_pulls_the_model_that_it_names(
    served: Any, tmp_path: Path
) -> None:
    (tmp_path / "weights.txt").touch()  # the note
    image = {"BERTH_MODEL": "pocket", "BERTH_WEIGHTS": str(tmp_path)}
    assert served(**image)[0].engine.model == POCKET


def test_a_folder_that_the_owner_names_must_hold_weights(tmp_path: Path) -> None:
    done = CliRunner().invoke(command.serve, ["pocket", "--ckpt_dir", str(tmp_path)])
    assert done.exit_code == 2
    assert f"there are no weights in {tmp_path}" in done.output.replace("\n", "")


@pytest.mark.parametrize(
    ("said", "name", "template"),
    [
        ("llama-2-7b", "llama-2-7b", "plain"),
        ("/llama/llama-2-7b", "llama-2-7b", "plain"),  # KAITO's LLAMA_WEIGHTS
        ("tiiuae/falcon-7b", "falcon-7b", "plain"),
        ("me/my-own", "my-own", None),
    ],
)
def test_the_weights_name_decides_the_template(said: str, name: str, template: str | None) -> None:
    found = find_model(said, POCKET)
    assert (found.name, found.template) == (name, template)


def test_the_built_in_model_is_missed_where_an_image_leaves_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pocket").mkdir()
    catalogue = Path(POCKET).parent / "preset.yaml"
    (tmp_path / "pocket/preset.yaml").write_text(catalogue.read_text())
    monkeypatch.setenv("BERTH_PRESETS", str(tmp_path))
    done = CliRunner().invoke(command.serve, ["pocket"])
    assert done.exit_code == 2
    assert "the weights of pocket are not here" in " ".join(done.output.split())


def test_as_many_ranks_as_gpus_that_divide_the_model(tmp_path: Path) -> None:
    folder = tmp_path / "hf"
    write_hf(folder, tiny_config(num_heads=8, num_kv_heads=4))
    assert [automatic_degree(folder, gpus) for gpus in (0, 1, 2, 3, 4, 7, 8)] == [
        *(1, 1, 2, 2, 4, 4, 8)
    ]


def test_a_vocabulary_that_the_file_leaves_out_is_llama_2s(tmp_path: Path) -> None:
    meta = tmp_path / "meta"
    write_meta(meta, tiny_config(vocab_size=32_000, hidden_size=32, num_layers=1))
    assert automatic_degree(meta, 4) == 4


def test_auto_on_a_machine_without_gpus_is_one_rank(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert served("--degree", "auto", "pocket")[0].engine.degree == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert served("--degree", "auto", "pocket")[0].engine.degree == 2
    assert served("--degree", "auto", "--device", "cpu", "pocket")[0].engine.degree == 1


def test_auto_over_several_nodes_is_refused(tmp_path: Path) -> None:
    nodes = ["--nnodes", "2", "--rdzv-endpoint", "a:1"]
    done = CliRunner().invoke(command.serve, [*nodes, "--degree", "auto", "pocket"])
    assert done.exit_code == 2
    assert "with --nnodes give the number" in " ".join(done.output.split())


def test_gpus_are_counted_without_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert visible_gpus(tmp_path) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert visible_gpus(tmp_path) == 1


@pytest.mark.parametrize("said", ["0", "-1", "many"])
def test_a_degree_that_is_none_is_refused(tmp_path: Path, said: str) -> None:
    done = CliRunner().invoke(command.serve, ["--degree", said, str(meta_folder(tmp_path / "m"))])
    assert done.exit_code == 2
    assert "should be a number from 1, or auto" in " ".join(done.output.split())
