"""Which files the weights are in, and an index that is refused with what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from berth.checkpoint.errors import ConfigError
from berth.checkpoint.index import INDEX, stored_files, weight_map


def folder_of(folder: Path, *names: str, index: object = None) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    if index is not None:
        (folder / INDEX).write_text(json.dumps(index))
    return folder


def indexed(*files: object) -> dict[str, object]:
    return {"weight_map": {f"t{n}": file for n, file in enumerate(files)}}


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        stored_files(folder)
    return str(caught.value)


def test_the_files_that_the_index_names_and_no_others(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path / "m", "a.safetensors", "b.safetensors", "fp16.safetensors",
        index=indexed("./b.safetensors", "a.safetensors", "b.safetensors"),
    )  # fmt: skip
    assert stored_files(folder) == ["a.safetensors", "b.safetensors"]


def test_a_file_in_a_folder_below_is_read(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", "part/a.safetensors", index=indexed("part/a.safetensors"))
    assert stored_files(folder) == ["part/a.safetensors"]


def test_one_file_wins_over_the_index(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", "model.safetensors", index=indexed("../../x.safetensors"))
    assert stored_files(folder) == ["model.safetensors"]


def test_without_an_index_all_files_but_second_copies_and_adapters(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path / "m", "a.safetensors", "b.safetensors", "consolidated.safetensors",
        "adapter_model.safetensors", "c.bin",
    )  # fmt: skip
    assert stored_files(folder) == ["a.safetensors", "b.safetensors"]


def test_a_description_without_weights_has_none(tmp_path: Path) -> None:
    assert stored_files(folder_of(tmp_path / "m", index=indexed("a.safetensors"))) == []


@pytest.mark.parametrize(
    "file",
    ["/etc/a.safetensors", "../a.safetensors", "./../a.safetensors", "x/../../a.safetensors"],
)
def test_a_path_outside_of_the_folder_is_refused(file: str, tmp_path: Path) -> None:
    said = refusal(folder_of(tmp_path / "m", index=indexed(file)))
    assert said == (
        f"{INDEX}: weight_map.t0 is {file!r}, a path outside of the folder; it must be a file in "
        "the folder"
    )


@pytest.mark.parametrize("file", [1, None, "", ["a"], "a\0.safetensors"])
def test_what_is_no_name_is_refused(file: object, tmp_path: Path) -> None:
    said = refusal(folder_of(tmp_path / "m", index=indexed(file)))
    assert said == f"{INDEX}: weight_map.t0 must be a file in the folder"


def test_another_format_is_refused_by_name(tmp_path: Path) -> None:
    said = refusal(folder_of(tmp_path / "m", "a.bin", index=indexed("a.bin")))
    assert said == f"{INDEX}: weight_map.t0 is 'a.bin', which is no *.safetensors file"


@pytest.mark.parametrize("index", [{}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": "x"}])
def test_a_weight_map_of_another_type_is_refused(index: object, tmp_path: Path) -> None:
    said = refusal(folder_of(tmp_path / "m", index=index))
    assert said == f"{INDEX}: weight_map must be an object of tensors and their files"


def test_an_index_that_is_no_object_is_refused(tmp_path: Path) -> None:
    for content in ("[]", "{", "nul"):
        folder = folder_of(tmp_path / "m")
        (folder / INDEX).write_text(content)
        with pytest.raises(ConfigError, match=r"model\.safetensors\.index\.json"):
            weight_map(folder)


def test_a_file_that_is_not_there_is_named_with_a_tensor_of_it(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path / "m", "a.safetensors", index=indexed("a.safetensors", "b.safetensors")
    )
    assert refusal(folder) == f"{folder} lacks b.safetensors, which {INDEX} names (t1 is in it)"


def test_a_gap_in_the_numbers_is_named_without_an_index(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path / "m", "model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"
    )
    assert refusal(folder) == (
        f"{folder} lacks model-00002-of-00003.safetensors, which belongs to "
        "model-00001-of-00003.safetensors"
    )
