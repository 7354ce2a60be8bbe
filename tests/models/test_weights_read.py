"""Any slice of any tensor is read as if the folder were one unsharded file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from berth.models.weights.folder import open_weights
from berth.models.weights.names import (
    EMBEDDING,
    HEAD,
    meta_name,
    tensor_shapes,
)
from berth.models.weights.source import WeightSource
from models.checkpoints import random_tensors, save_transformers, tiny_config, write_hf, write_meta

LAYOUTS = [
    "meta-1",
    "meta-2-columns",
    "meta-2-rows",
    "meta-4-columns",
    "meta-4-rows",
    "hf-1",
    "hf-3",
]


@pytest.fixture(params=LAYOUTS)
def opened(
    request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[WeightSource, dict[str, torch.Tensor]]:
    """A source, and the full tensors that it was made of."""
    kind, count, *rest = request.param.split("-")
    config = tiny_config()
    if kind == "hf":
        tensors = write_hf(tmp_path, config, files=int(count))
    else:
        dim = 0 if rest == ["rows"] else 1
        tensors = write_meta(tmp_path, config, shards=int(count), embedding_dim=dim)
    return open_weights(tmp_path), tensors


def test_every_tensor_is_whole(opened: tuple[WeightSource, dict[str, torch.Tensor]]) -> None:
    source, tensors = opened
    source.check(tensor_shapes(source.config))
    assert list(tensor_shapes(source.config)) == list(tensors)
    for name, tensor in tensors.items():
        assert source.read(name).equal(tensor), name


@pytest.mark.parametrize("degree", [2, 4, 8])
def test_slices_of_any_degree_are_those_of_the_whole(
    opened: tuple[WeightSource, dict[str, torch.Tensor]], degree: int
) -> None:
    source, tensors = opened
    for name, tensor in tensors.items():
        for dim in range(tensor.ndim):
            length = tensor.shape[dim] // degree
            for rank in range(degree):
                start = rank * length
                part = source.read(name, dim=dim, start=start, length=length)
                assert part.equal(tensor.narrow(dim, start, length)), (name, dim, rank)


def test_uneven_and_empty_slices_are_those_of_the_whole(
    opened: tuple[WeightSource, dict[str, torch.Tensor]],
) -> None:
    source, tensors = opened
    for name in (EMBEDDING, HEAD, "model.layers.1.mlp.down_proj.weight"):
        tensor = tensors[name]
        for dim in (0, 1):
            size = tensor.shape[dim]
            for start, length in ((0, 1), (3, size // 2 + 1), (size - 1, 1), (5, 0), (0, size)):
                part = source.read(name, dim=dim, start=start, length=length)
                assert part.equal(tensor.narrow(dim, start, length)), (name, dim, start, length)
            assert source.read(name, dim=dim, start=7).equal(tensor.narrow(dim, 7, size - 7))


def test_a_slice_beyond_the_tensor_is_an_error(
    opened: tuple[WeightSource, dict[str, torch.Tensor]],
) -> None:
    source, _ = opened
    with pytest.raises((IndexError, RuntimeError)):
        source.read(EMBEDDING, start=90, length=7)
    with pytest.raises((IndexError, RuntimeError)):
        source.read(EMBEDDING, dim=1, start=60, length=5)


def test_a_released_tensor_can_be_read_again(
    opened: tuple[WeightSource, dict[str, torch.Tensor]],
) -> None:
    source, tensors = opened
    for name, tensor in tensors.items():
        source.read(name)
        source.release(name)
        source.release(name)
        assert source.read(name).equal(tensor), name


def test_views_outlive_the_source_and_reading_does_not(
    opened: tuple[WeightSource, dict[str, torch.Tensor]],
) -> None:
    source, tensors = opened
    norm = source.read("model.norm.weight")
    source.close()
    assert norm.equal(tensors["model.norm.weight"])
    with pytest.raises(ValueError, match="is closed"):
        source.read(EMBEDDING)


def test_a_whole_slice_of_one_file_is_no_copy(tmp_path: Path) -> None:
    write_hf(tmp_path / "hf", tiny_config())
    write_meta(tmp_path / "meta", tiny_config(), shards=2)
    hf, meta = open_weights(tmp_path / "hf"), open_weights(tmp_path / "meta")
    name = "model.layers.0.self_attn.q_proj.weight"
    assert hf.read(name).data_ptr() == hf.read(name).data_ptr()
    # Degree 4 out of two shards: every rank's rows lie in one file.
    one, again = (meta.read(name, start=16, length=16) for _ in range(2))
    assert one.data_ptr() == again.data_ptr()


def test_writing_to_a_view_does_not_reach_the_file(tmp_path: Path) -> None:
    for write, folder in ((write_hf, tmp_path / "hf"), (write_meta, tmp_path / "meta")):
        tensors = write(folder, tiny_config())
        open_weights(folder).read("model.norm.weight").zero_()
        assert open_weights(folder).read("model.norm.weight").equal(tensors["model.norm.weight"])


def test_total_bytes_counts_every_tensor(tmp_path: Path) -> None:
    tensors = write_hf(tmp_path, tiny_config(), files=2)
    assert open_weights(tmp_path).total_bytes == sum(t.nbytes for t in tensors.values())


@pytest.mark.parametrize("layout", ["hf", "meta"])
def test_dtypes_may_be_mixed_within_a_model(layout: str, tmp_path: Path) -> None:
    config = tiny_config()
    tensors = random_tensors(config)
    for name in tensors:
        if "mlp" in name:
            tensors[name] = tensors[name].bfloat16()
        if "self_attn" in name:
            tensors[name] = tensors[name].half()
    if layout == "hf":
        write_hf(tmp_path, config, tensors, files=2)
    else:
        write_meta(tmp_path, config, tensors, shards=2)
    source = open_weights(tmp_path)
    source.check(tensor_shapes(config))
    for name, tensor in tensors.items():
        assert source.read(name).dtype == tensor.dtype
        assert source.read(name).equal(tensor), name


def test_a_tied_head_is_the_embedding(tmp_path: Path) -> None:
    config = tiny_config(tie_embeddings=True)
    tensors = write_hf(tmp_path, config)
    assert HEAD not in tensors
    source = open_weights(tmp_path)
    source.check({HEAD: (96, 64)} | tensor_shapes(config))
    assert source.read(HEAD, start=10, length=3).equal(tensors[EMBEDDING][10:13])
    source.release(HEAD)
    assert source.read(HEAD).data_ptr() == source.read(EMBEDDING).data_ptr()


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3"])
def test_what_transformers_saves_is_read_whole(architecture: str, tmp_path: Path) -> None:
    model = save_transformers(tmp_path, architecture, max_shard_size="100KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    source = open_weights(tmp_path)
    shapes = tensor_shapes(source.config)
    source.check(shapes)
    state = model.state_dict()
    assert set(shapes) == set(state)
    for name, tensor in state.items():
        assert source.read(name).equal(tensor), name


def test_a_transformers_model_with_all_biases_and_a_tied_head_is_read_whole(
    tmp_path: Path,
) -> None:
    model = save_transformers(
        tmp_path, "llama", attention_bias=True, mlp_bias=True, tie_word_embeddings=True
    )
    source = open_weights(tmp_path)
    shapes = tensor_shapes(source.config)
    assert set(shapes) == set(model.state_dict()) - {HEAD}
    for name in shapes:
        assert source.read(name).equal(model.state_dict()[name]), name


def test_several_files_without_an_index_are_one_model(tmp_path: Path) -> None:
    tensors = write_hf(tmp_path, tiny_config(), files=3)
    (tmp_path / "model.safetensors.index.json").unlink()
    source = open_weights(tmp_path)
    source.check(tensor_shapes(source.config))
    assert source.read(HEAD).equal(tensors[HEAD])


def test_a_file_whose_tensors_are_not_aligned_is_read(tmp_path: Path) -> None:
    tensors = write_hf(tmp_path, tiny_config(dtype="bfloat16"))
    path = tmp_path / "model.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    # One space more in the header shifts every tensor to an odd offset, as old writers did.
    path.write_bytes(
        (length + 1).to_bytes(8, "little") + raw[8 : 8 + length] + b" " + raw[8 + length :]
    )
    source = open_weights(tmp_path)
    for name, tensor in tensors.items():
        assert source.read(name).equal(tensor), name
        assert source.read(name).data_ptr() % 2 == 0, name
        source.release(name)


def test_no_two_tensors_share_a_name_in_metas_layout() -> None:
    names = list(tensor_shapes(tiny_config()))
    stored = [meta_name(name) for name in names]
    assert None not in stored
    assert len(set(stored)) == len(names)
    assert meta_name("model.layers.0.self_attn.q_proj.bias") is None
