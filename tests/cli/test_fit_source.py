"""A preset, a folder or a hub id: what a model weighs is known before it is downloaded."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from berth.checkpoint.folder import load_config
from berth.checkpoint.numbers import parameter_count
from berth.cli.model_source import ModelError, open_model
from berth.presets.resolve import resolve_model
from cli.fit_hub import Hub, hub
from models.checkpoints import tiny_config, write_hf, write_meta

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 512,
    "torch_dtype": "bfloat16",
}


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
        running.files["me/tiny/config.json"] = json.dumps(CONFIG).encode()
        yield running


def weights(sizes: dict[str, int], padding: int = 0) -> bytes:
    """A safetensors file of float8 vectors; `padding` lengthens its header."""
    header: dict[str, Any] = {"__metadata__": {"pad": "x" * padding}}
    at = 0
    for name, size in sizes.items():
        header[name] = {"dtype": "F8_E4M3", "shape": [size], "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def test_a_preset_by_name_or_by_its_hub_id() -> None:
    found = open_model("Llama-2-7B-Chat")
    assert found.name == "llama-2-7b-chat"
    assert parameter_count(found.numbers) == 6_738_415_616
    assert open_model("meta-llama/Llama-2-7b-chat-hf") == found


def test_an_unknown_name_tells_the_nearest() -> None:
    with pytest.raises(ModelError, match="llama-2-7b-chat"):
        open_model("lama-2-7b-chat")


@pytest.mark.parametrize("layout", ["hf", "meta"])
def test_a_folder_of_either_layout(layout: str, tmp_path: Path) -> None:
    config = tiny_config(vocab_size=96)
    write = write_hf if layout == "hf" else write_meta
    extra = {} if layout == "hf" else {"vocab_in_params": True}
    tensors = write(tmp_path / "m", config, **extra)  # type: ignore[operator]
    found = open_model(str(tmp_path / "m"))
    assert found.name == "m"
    assert parameter_count(found.numbers) == sum(t.numel() for t in tensors.values())
    assert found.numbers.dtype == "float32"
    if layout == "hf":
        assert found.stored_bytes == sum(t.nbytes for t in tensors.values())


def test_the_configs_dtype_is_what_is_loaded_and_counted(tmp_path: Path) -> None:
    """Weights that are stored wider than config.json says are narrowed, as transformers does."""
    named = {"dtype": "bfloat16", "torch_dtype": "bfloat16"}
    tensors = write_hf(tmp_path, tiny_config(), changes=named)
    found = open_model(str(tmp_path))
    narrow = sum(tensor.nbytes for tensor in tensors.values()) // 2
    assert (found.numbers.dtype, found.stored_bytes) == ("bfloat16", narrow)
    assert load_config(tmp_path).dtype == "bfloat16"


def test_without_one_the_files_dtype_is_taken(tmp_path: Path) -> None:
    tensors = write_hf(tmp_path, tiny_config(), changes={"dtype": None, "torch_dtype": None})
    found = open_model(str(tmp_path))
    wide = sum(tensor.nbytes for tensor in tensors.values())
    assert (found.numbers.dtype, found.stored_bytes) == ("float32", wide)
    assert load_config(tmp_path).dtype == "float32"


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("other.json", "{}", "is no model folder: it needs config.json"),
        ("config.json", "{", "is not valid JSON"),
        ("config.json", '{"architectures": ["NewForCausalLM"]}', "NewForCausalLM is not known"),
        ("config.json", '{"architectures": ["LlamaForCausalLM"]}', "is missing"),
    ],
)
def test_a_folder_that_cannot_be_read_says_why(
    file: str, content: str, fault: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(ModelError, match=fault):
        open_model(str(tmp_path))


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "model.safetensors").write_bytes(weights({"w": 8})[:20])
    with pytest.raises(ModelError, match=r"model\.safetensors: .* within its header, at 20"):
        open_model(str(tmp_path))


def test_a_hub_id_is_sized_by_ranges_without_a_download(served: Hub) -> None:
    served.files["me/tiny/model.safetensors"] = weights({"a": 3_000_000, "b": 5_000_000})
    found = open_model("me/tiny")
    assert found.stored_bytes == 8_000_000
    assert found.numbers.hidden == 64
    assert served.sent < 600_000


def test_shards_are_read_one_header_each(served: Hub) -> None:
    shards = {f"model-{i}.safetensors": {f"w{i}": 1_000_000 * i} for i in (1, 2, 3)}
    index = {"weight_map": {name: file for file, sizes in shards.items() for name in sizes}}
    served.files["me/tiny/model.safetensors.index.json"] = json.dumps(index).encode()
    for file, sizes in shards.items():
        served.files[f"me/tiny/{file}"] = weights(sizes)
    assert open_model("me/tiny").stored_bytes == 6_000_000


def test_a_long_header_is_read_to_its_end(served: Hub) -> None:
    served.files["me/tiny/model.safetensors"] = weights({"a": 1000}, padding=700_000)
    assert open_model("me/tiny").stored_bytes == 1000


def test_a_server_that_ignores_ranges_is_not_downloaded_whole(served: Hub) -> None:
    served.ranges = False
    served.files["me/tiny/model.safetensors"] = weights({"a": 30_000_000})
    assert open_model("me/tiny").stored_bytes == 30_000_000


def test_a_repository_without_safetensors_is_sized_by_its_config(served: Hub) -> None:
    found = open_model("me/tiny")
    assert found.stored_bytes is None
    assert found.numbers.vocab == 256


def test_a_revision_is_asked_for(served: Hub) -> None:
    with pytest.raises(ModelError, match="revision v9"):
        open_model("nobody/nothing", "v9")


def test_a_gated_repository_says_what_to_do(served: Hub) -> None:
    served.gated.add("me/tiny")
    with pytest.raises(ModelError, match="HF_TOKEN"):
        open_model("me/tiny")


def test_a_hub_that_is_not_there_says_that_none_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match="a preset or a folder needs no network"):
        open_model("me/tiny")


def test_what_the_native_engine_does_not_compute_is_fitted_for_the_engine_that_serves_it(
    tmp_path: Path,
) -> None:
    dynamic = {"rope_type": "dynamic", "factor": 4.0}
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"rope_scaling": dynamic}))
    found = open_model(str(tmp_path))
    assert found.engine == "transformers"
    assert "dynamic" in found.notes[0]
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert open_model(str(tmp_path)).engine == "native"


@pytest.mark.parametrize("content", [b"version https://git-lfs\n", b"PK torn", b""])
def test_a_pth_that_cannot_be_read_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    params = {"dim": 64, "n_layers": 1, "n_heads": 4, "vocab_size": -1}
    (tmp_path / "params.json").write_text(json.dumps(params))
    (tmp_path / "consolidated.00.pth").write_bytes(content)
    with pytest.raises(ModelError, match=r"consolidated\.00\.pth"):
        open_model(str(tmp_path))


@pytest.mark.parametrize(("given", "where"), [(".", "tiny"), ("./", "tiny"), ("..", "tiny/sub")])
def test_a_folder_given_by_dots_has_the_name_that_it_is_served_under(
    given: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_hf(tmp_path / "tiny", tiny_config())
    (tmp_path / "tiny/sub").mkdir()
    monkeypatch.chdir(tmp_path / where)
    assert open_model(given).name == resolve_model(given).name == "tiny"
