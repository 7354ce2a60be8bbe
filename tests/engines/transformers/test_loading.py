"""What is loaded, what is refused, and that no code of a folder runs unasked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from berth.checkpoint.errors import ConfigError
from berth.engines.transformers.loading import load_model, positions_of
from berth.models.weights.source import WeightError
from berth.protocol.config import EngineConfig
from engines.transformers.tiny_models import make_model, save_model
from models.checkpoints import save_transformers

REMOTE = """
import pathlib
import torch
from transformers import GPT2Config, GPT2LMHeadModel

pathlib.Path(__file__).with_name("it-ran").touch()


class OwnConfig(GPT2Config):
    model_type = "berth-own"


class OwnModel(GPT2LMHeadModel):
    config_class = OwnConfig
"""


def load(folder: Path, **settings: Any) -> Any:
    values = {"dtype": "float32", "device": "cpu"} | settings
    config = EngineConfig(model=str(folder), socket="", **values)
    return load_model(config, lambda done, total: None)


def test_weights_arrive_as_they_were_saved_and_progress_is_told(tmp_path: Path) -> None:
    saved = save_model(tmp_path, "gpt2")
    told: list[tuple[int, int]] = []
    config = EngineConfig(model=str(tmp_path), socket="", dtype="float32", device="cpu")
    loaded = load_model(config, lambda done, total: told.append((done, total)))
    assert not loaded.training
    for name, tensor in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    size = (tmp_path / "model.safetensors").stat().st_size
    assert told[0] == (0, size)
    assert told[-1] == (size, size)
    assert len(told) > 10
    assert told == sorted(told)


def test_a_yarn_folder_whose_head_size_is_null_is_loaded(tmp_path: Path) -> None:
    """What the native engine hands over; null means as the other sizes give it."""
    save_transformers(tmp_path, "qwen2")
    path = tmp_path / "config.json"
    yarn = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    config = json.loads(path.read_text())
    config.pop("rope_parameters", None)
    more = {"head_dim": None, "rope_theta": 1e6, "rope_scaling": yarn}
    path.write_text(json.dumps(config | more))
    model = load(tmp_path)
    assert model.model.layers[0].self_attn.head_dim == 8
    logits = model(torch.tensor([[3, 4, 5]])).logits
    assert bool(logits.isfinite().all())


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path, "gpt2")
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"pytorch_model\.bin, a pickle, .* is refused"):
        load(tmp_path)


def test_metas_layout_is_another_engines(tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text("{}")
    (tmp_path / "consolidated.00.pth").touch()
    with pytest.raises(ValueError, match="Use --engine native"):
        load(tmp_path)


def remote_folder(tmp_path: Path) -> Path:
    save_model(tmp_path, "gpt2")
    config = json.loads((tmp_path / "config.json").read_text())
    auto_map = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    config |= {"model_type": "berth-own", "auto_map": auto_map, "architectures": ["OwnModel"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(REMOTE.replace("__file__", repr(str(tmp_path / "own.py"))))
    return tmp_path


def test_a_folders_own_code_does_not_run_unless_it_is_trusted(tmp_path: Path) -> None:
    folder = remote_folder(tmp_path)
    with pytest.raises(ValueError, match="start with --trust-remote-code if you trust it"):
        load(folder)
    assert not (folder / "it-ran").exists()


def test_trusted_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "m"))
    monkeypatch.syspath_prepend(tmp_path / "m")
    (tmp_path / "model").mkdir()
    folder = remote_folder(tmp_path / "model")
    assert type(load(folder, trust_remote_code=True)).__name__ == "OwnModel"
    assert (folder / "it-ran").exists()


def test_code_beside_a_known_architecture_is_not_needed(tmp_path: Path) -> None:
    """Falcon's folders bring code for old versions of transformers."""
    folder = remote_folder(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    assert type(load(folder)).__name__ == "GPT2LMHeadModel"
    assert not (folder / "it-ran").exists()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "no-such-thing"}, "model_type is 'no-such-thing', which transformers"),
        ({"model_type": "t5"}, "an encoder with a decoder"),
        ({}, "model_type is None"),
    ],
)
def test_what_is_no_causal_model_is_refused(
    tmp_path: Path, config: dict[str, Any], said: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match=said):
        load(tmp_path)


@pytest.mark.parametrize("flag", ["load_in_8bit", "load_in_4bit"])
def test_quantised_loading_is_refused_without_an_nvidia_gpu(tmp_path: Path, flag: str) -> None:
    save_model(tmp_path, "falcon-7b")
    with pytest.raises(ValueError, match=f"{flag} needs an NVIDIA GPU, .* runs on cpu"):
        load(tmp_path, **{flag: True})


def test_the_context_is_the_models_or_less() -> None:
    gpt2 = make_model("gpt2").config
    assert positions_of(gpt2, None) == 256
    assert positions_of(gpt2, 100) == 100
    assert positions_of(gpt2, 1000) == 256
    bloom = make_model("bloom").config  # ALiBi: any length, if the owner wants it
    assert positions_of(bloom, None) == 2048
    assert positions_of(bloom, 5000) == 5000


def test_tensors_that_are_missing_or_of_another_shape_are_named_not_invented(
    tmp_path: Path,
) -> None:
    from safetensors.torch import load_file, save_file

    save_model(tmp_path, "gpt2")
    file = tmp_path / "model.safetensors"
    whole = load_file(file)
    name = next(n for n in whole if n.endswith("h.1.mlp.c_fc.weight"))
    save_file({n: t for n, t in whole.items() if n != name}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks transformer\.h\.1\.mlp\.c_fc\.weight; its config"):
        load(tmp_path)
    save_file(whole | {name: whole[name][:, :-1].contiguous()}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"has in another shape .*h\.1\.mlp\.c_fc\.weight"):
        load(tmp_path)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(WeightError, match="the file is truncated"):
        load(tmp_path)
