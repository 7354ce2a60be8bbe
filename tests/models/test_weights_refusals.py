"""Damaged weights are refused before loading, with the tensor's and the file's name."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from berth.checkpoint.errors import ConfigError
from berth.models.weights.folder import open_weights
from berth.models.weights.names import tensor_shapes
from berth.models.weights.source import WeightError
from models.checkpoints import random_tensors, tiny_config, write_hf, write_meta

WV = "layers.1.attention.wv.weight"
V_PROJ = "model.layers.1.self_attn.v_proj.weight"


def open_and_check(folder: Path) -> None:
    source = open_weights(folder)
    source.check(tensor_shapes(source.config))


def refusal(folder: Path) -> WeightError:
    """The error with which opening and checking a folder ends."""
    with pytest.raises(WeightError) as caught:
        open_and_check(folder)
    assert caught.value.tensor in str(caught.value)
    assert caught.value.file in str(caught.value)
    return caught.value


def says(error: WeightError, pattern: str) -> bool:
    return re.search(pattern, str(error)) is not None


def change_pth(path: Path, name: str, tensor: torch.Tensor | None) -> None:
    state = torch.load(path, weights_only=True)
    if tensor is None:
        del state[name]
    else:
        state[name] = tensor
    torch.save(state, path)


def change_safetensors(path: Path, name: str, tensor: torch.Tensor | None) -> None:
    state = load_file(path)
    if tensor is None:
        del state[name]
    else:
        state[name] = tensor
    save_file(state, path)


def file_of(folder: Path, name: str) -> Path:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    return folder / str(index["weight_map"][name])


BAD_TENSORS = [
    pytest.param(None, "is missing", id="missing"),
    pytest.param(torch.zeros(3, 64), r"its shape is \(3, 64\)", id="mis-shaped"),
    pytest.param(torch.zeros(64), r"its shape is \(64,\)", id="vector"),
    pytest.param("int8", "its dtype is (int8|I8); weights must be", id="int8"),
    pytest.param("int64", "its dtype is (int64|I64)", id="int64"),
    pytest.param("float64", "its dtype is (float64|F64)", id="float64"),
    pytest.param("float8_e4m3fn", "its dtype is (float8_e4m3fn|F8_E4M3).*fp8", id="fp8"),
]


def bad(tensor: torch.Tensor | str | None, like: torch.Tensor) -> torch.Tensor | None:
    return torch.zeros(like.shape).to(getattr(torch, tensor)) if isinstance(tensor, str) else tensor


@pytest.mark.parametrize(("tensor", "said"), BAD_TENSORS)
def test_a_bad_tensor_in_one_of_metas_shards_is_named(
    tensor: torch.Tensor | str | None, said: str, tmp_path: Path
) -> None:
    write_meta(tmp_path, tiny_config(), shards=2)
    path = tmp_path / "consolidated.01.pth"
    change_pth(path, WV, bad(tensor, torch.load(path, weights_only=True)[WV]))
    error = refusal(tmp_path)
    assert (error.tensor, error.file) == (WV, path.name)
    assert says(error, said)


@pytest.mark.parametrize(("tensor", "said"), BAD_TENSORS)
def test_a_bad_tensor_in_a_safetensors_file_is_named(
    tensor: torch.Tensor | str | None, said: str, tmp_path: Path
) -> None:
    write_hf(tmp_path, tiny_config(), files=3)
    path = file_of(tmp_path, V_PROJ)
    change_safetensors(path, V_PROJ, bad(tensor, load_file(path)[V_PROJ]))
    error = refusal(tmp_path)
    assert (error.tensor, error.file) == (V_PROJ, path.name)
    assert says(error, said)


def test_reading_a_bad_tensor_without_a_check_is_refused_too(tmp_path: Path) -> None:
    write_hf(tmp_path / "hf", tiny_config())
    write_meta(tmp_path / "meta", tiny_config())
    change_safetensors(
        tmp_path / "hf/model.safetensors", V_PROJ, torch.zeros(32, 64, dtype=torch.int8)
    )
    change_pth(tmp_path / "meta/consolidated.00.pth", WV, torch.zeros(32, 64, dtype=torch.int8))
    for folder in ("hf", "meta"):
        with pytest.raises(WeightError, match="weights must be float32"):
            open_weights(tmp_path / folder).read(V_PROJ)
        with pytest.raises(WeightError, match=r"is missing|has no such tensor"):
            open_weights(tmp_path / folder).read("model.layers.0.self_attn.q_proj.bias")


@pytest.mark.parametrize(("lost", "shards"), [(0, 2), (1, 2), (1, 4), (3, 4), (2, 4)])
def test_a_missing_shard_is_named(lost: int, shards: int, tmp_path: Path) -> None:
    write_meta(tmp_path, tiny_config(), shards=shards)
    (tmp_path / f"consolidated.{lost:02d}.pth").unlink()
    error = refusal(tmp_path)
    assert error.file == f"consolidated.{lost:02d}.pth"
    assert says(error, "the file is missing")


def test_a_missing_safetensors_file_is_named_with_its_first_tensor(tmp_path: Path) -> None:
    write_hf(tmp_path, tiny_config(), files=3)
    path = file_of(tmp_path, V_PROJ)
    path.unlink()
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    with pytest.raises(ConfigError) as caught:
        open_and_check(tmp_path)
    said = re.search(r"lacks (\S+), which \S+ names \((\S+) is in it\)", str(caught.value))
    assert said is not None
    assert said[1] == path.name
    assert index[said[2]] == path.name


def test_an_mlp_of_another_width_than_params_json_says_is_refused(tmp_path: Path) -> None:
    write_meta(tmp_path, tiny_config(), params={"multiple_of": 256})
    error = refusal(tmp_path)
    assert error.tensor == "layers.0.feed_forward.w1.weight"
    assert says(error, r"its shape is \(176, 64\).*ask for \(256, 64\)")


def test_norms_that_differ_between_shards_are_refused(tmp_path: Path) -> None:
    write_meta(tmp_path, tiny_config(), shards=2)
    path = tmp_path / "consolidated.01.pth"
    change_pth(path, "layers.1.ffn_norm.weight", torch.full((64,), 3.0))
    error = refusal(tmp_path)
    assert (error.tensor, error.file) == ("layers.1.ffn_norm.weight", path.name)
    assert says(error, "different checkpoints")


def test_shards_of_different_dtypes_are_refused(tmp_path: Path) -> None:
    write_meta(tmp_path, tiny_config(), shards=2)
    path = tmp_path / "consolidated.01.pth"
    change_pth(path, WV, torch.zeros(16, 64, dtype=torch.bfloat16))
    error = refusal(tmp_path)
    assert (error.tensor, error.file) == (WV, path.name)
    assert says(error, "its dtype is bfloat16, but float32 in the first shard")


def test_a_truncated_pth_names_the_first_tensor_that_is_not_whole(tmp_path: Path) -> None:
    write_meta(tmp_path, tiny_config(), shards=2)
    path = tmp_path / "consolidated.01.pth"
    whole = path.read_bytes()
    state = torch.load(path, weights_only=True)
    for name, tensor in state.items():
        begin = whole.index(tensor.numpy().tobytes())
        path.write_bytes(whole[: begin + tensor.nbytes - 1])
        error = refusal(tmp_path)
        assert (error.tensor, error.file) == (name, path.name)
        assert says(error, "truncated")


@pytest.mark.parametrize("kept", [0, 3, 20, 40, 1000, -5, -100, -3000])
def test_a_pth_cut_anywhere_else_names_the_file_and_a_tensor(kept: int, tmp_path: Path) -> None:
    write_meta(tmp_path, tiny_config(), shards=2)
    path = tmp_path / "consolidated.01.pth"
    whole = path.read_bytes()
    names = {str(name) for name in torch.load(path, weights_only=True)}
    path.write_bytes(whole[:kept])
    error = refusal(tmp_path)
    assert error.file == path.name
    assert error.tensor in names


def test_a_truncated_safetensors_names_the_first_tensor_past_the_end(tmp_path: Path) -> None:
    write_hf(tmp_path, tiny_config())
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header: dict[str, Any] = json.loads(whole[8 : 8 + length])
    header.pop("__metadata__", None)
    for name, entry in header.items():
        path.write_bytes(whole[: 8 + length + entry["data_offsets"][1] - 1])
        error = refusal(tmp_path)
        assert (error.tensor, error.file) == (name, path.name)
        assert says(error, "truncated")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "truncated within its header, at 0 bytes", id="empty"),
        pytest.param(b"\x10\0\0\0\0\0\0\0{", "truncated within its header", id="header"),
        pytest.param(b"\xff" * 64, "does not begin with a safetensors header", id="no-header"),
        pytest.param(b"\x02\0\0\0\0\0\0\0{]", "is not a JSON object", id="no-json"),
        pytest.param(b"\x02\0\0\0\0\0\0\0[]", "is not a JSON object", id="list"),
    ],
)
def test_a_file_that_is_no_safetensors_is_refused_by_name(
    content: bytes, said: str, tmp_path: Path
) -> None:
    write_hf(tmp_path, tiny_config())
    (tmp_path / "model.safetensors").write_bytes(content)
    error = refusal(tmp_path)
    assert (error.tensor, error.file) == ("model.embed_tokens.weight", "model.safetensors")
    assert says(error, said)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 15]},
        {"dtype": "F32", "shape": [2, -2], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [2, 2], "data_offsets": [16, 0]},
        {"dtype": "F32", "shape": [2, 2], "data_offsets": [-16, 0]},
        {"dtype": "F32", "shape": [2, 2], "data_offsets": [0]},
        {"dtype": "F32", "shape": "2", "data_offsets": [0, 16]},
        {"dtype": 32, "shape": [2, 2], "data_offsets": [0, 16]},
        {"shape": [2, 2], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [True, 2.5], "data_offsets": ["0", None]},
        [],
        None,
    ],
)
def test_a_header_that_lies_is_refused_with_the_tensors_name(entry: Any, tmp_path: Path) -> None:
    write_hf(tmp_path, tiny_config())
    header = json.dumps({"model.norm.weight": entry}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(64)
    (tmp_path / "model.safetensors").write_bytes(content)
    error = refusal(tmp_path)
    assert (error.tensor, error.file) == ("model.norm.weight", "model.safetensors")


@pytest.mark.parametrize("where", [{}, [], None, {V_PROJ: "../x.safetensors"}, {V_PROJ: 3}])
def test_an_index_that_points_elsewhere_is_refused(where: Any, tmp_path: Path) -> None:
    write_hf(tmp_path, tiny_config(), files=2)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    with pytest.raises(ConfigError, match=r"model\.safetensors\.index\.json: weight_map"):
        open_weights(tmp_path)


def test_a_tensor_in_two_files_without_an_index_is_refused(tmp_path: Path) -> None:
    write_hf(tmp_path, tiny_config(), files=2)
    (tmp_path / "model.safetensors.index.json").unlink()
    save_file({V_PROJ: torch.zeros(32, 64)}, tmp_path / "model-extra.safetensors")
    error = refusal(tmp_path)
    assert error.tensor == V_PROJ
    assert says(error, "which one is meant")


class Payload:
    """A pickle of this would run a command where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("place", ["beside", "instead", "legacy", "bare"])
def test_a_malicious_pickle_is_refused_and_not_executed(place: str, tmp_path: Path) -> None:
    folder, proof = tmp_path / "model", tmp_path / "executed"
    write_meta(folder, tiny_config())
    path = folder / "consolidated.00.pth"
    state = torch.load(path, weights_only=True)
    match place:
        case "beside":
            torch.save(state | {"x": Payload(proof)}, path)
        case "instead":
            torch.save(Payload(proof), path)
        case "legacy":
            torch.save(state | {"x": Payload(proof)}, path, _use_new_zipfile_serialization=False)
        case "bare":
            path.write_bytes(pickle.dumps(Payload(proof)))
    error = refusal(folder)
    assert error.file == path.name
    assert not proof.exists()
    assert "weights_only" not in str(error)  # torch's advice to switch the guard off
    if place in ("beside", "instead"):
        assert says(error, r"other than tensors \(posix\.mkdir\)")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ([torch.zeros(3)], "holds a list"),
        ({"model": {"tok_embeddings.weight": torch.zeros(3)}}, "it is a dict"),
        ({"tok_embeddings.weight": torch.zeros(4, 4).t()[1:]}, "not stored contiguously"),
        ({"other": torch.zeros(3)}, "is missing or no matrix"),
        ({}, "is missing or no matrix"),
    ],
)
def test_a_pth_that_holds_something_else_is_refused(state: Any, said: str, tmp_path: Path) -> None:
    write_meta(tmp_path, tiny_config())
    torch.save(state, tmp_path / "consolidated.00.pth")
    error = refusal(tmp_path)
    assert error.file == "consolidated.00.pth"
    assert says(error, said)


def test_more_layers_than_the_file_has_are_refused(tmp_path: Path) -> None:
    write_meta(tmp_path / "meta", tiny_config(), params={"n_layers": 3})
    write_hf(tmp_path / "hf", tiny_config(), changes={"num_hidden_layers": 3})
    assert refusal(tmp_path / "meta").tensor.startswith("layers.2.")
    assert refusal(tmp_path / "hf").tensor.startswith("model.layers.2.")


def test_a_head_that_is_not_tied_must_be_there(tmp_path: Path) -> None:
    config = tiny_config()
    tensors = random_tensors(config)
    del tensors["lm_head.weight"]
    write_hf(tmp_path, config, tensors)
    error = refusal(tmp_path)
    assert (error.tensor, error.file) == ("lm_head.weight", "model.safetensors")
