"""A folder's layout, or the sentence that says why it is not served and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from berth.checkpoint.errors import ConfigError
from berth.checkpoint.index import INDEX
from berth.checkpoint.layout import POINTER, folder_layout

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def put(folder: Path, **files: object) -> Path:
    """Files by name, with "__" for ".", their content as JSON unless it is bytes."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / name.replace("__", ".")).write_bytes(raw)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        folder_layout(folder)
    return str(caught.value)


def test_an_adapter_names_its_base_and_how_to_merge_it(tmp_path: Path) -> None:
    folder = put(
        tmp_path / "lora",
        adapter_config__json={"base_model_name_or_path": "org/base"},
        adapter_model__safetensors=b"x",
        tokenizer__json={},
    )
    said = refusal(folder)
    assert said.startswith("lora is an adapter (LoRA) of org/base and no model itself")
    assert "merge_and_unload" in said


def test_an_adapter_with_a_config_json_or_a_pickle_is_an_adapter(tmp_path: Path) -> None:
    for more in ({"config__json": LLAMA}, {"pytorch_model__bin": b"x", "config__json": LLAMA}):
        folder = put(
            tmp_path / "lora", adapter_config__json={}, adapter_model__safetensors=b"x", **more
        )
        assert refusal(folder).startswith("lora is an adapter (LoRA) of another model")


def test_a_model_with_an_adapter_beside_it_is_not_served_without_the_adapter(
    tmp_path: Path,
) -> None:
    folder = put(
        tmp_path / "both",
        config__json=LLAMA,
        model__safetensors=b"x",
        adapter_config__json={},
        adapter_model__safetensors=b"x",
    )
    assert "both holds a model and an adapter for one" in refusal(folder)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"m__gguf": b"GGUF"}, "holds its weights only as GGUF (m.gguf)"),
        ({"m__gguf": b"GGUF", "config__json": LLAMA}, "holds its weights only as GGUF (m.gguf)"),
        ({"pytorch_model__bin": b"x", "config__json": LLAMA}, "only as pytorch_model.bin, a pickl"),
        ({"model__pt": b"x", "config__json": LLAMA}, "only as model.pt, a pickle"),
        ({"tf_model__h5": b"x", "config__json": LLAMA}, "only as tf_model.h5, TensorFlow's format"),
        ({"model__onnx": b"x", "config__json": LLAMA}, "only as model.onnx, ONNX's format"),
        ({"model__safetensors": b"x"}, "holds weights (model.safetensors) and no config.json"),
        ({}, "is no model folder: it needs config.json"),
    ],
)
def test_weights_of_another_kind_are_named(
    files: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    assert sentence in refusal(put(tmp_path / "m", **files))


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", INDEX]
)
def test_a_pointer_of_git_lfs_is_named_wherever_it_lies(name: str, tmp_path: Path) -> None:
    folder = put(
        tmp_path / "m",
        config__json=LLAMA,
        tokenizer__json={},
        **({} if name == INDEX else {"model__safetensors": b"x"}),
    )
    (folder / name).write_bytes(POINTER + b".github.com/spec/v1\n")
    assert refusal(folder) == (
        f"{folder / name} is a pointer of git-lfs and not the file itself; "
        "run git lfs pull in its clone"
    )


def test_a_pointer_that_nothing_reads_does_no_harm(tmp_path: Path) -> None:
    folder = put(
        tmp_path / "m",
        config__json=LLAMA,
        model__safetensors=b"x",
        tokenizer__json={},
        tokenizer__model=POINTER,
        consolidated__safetensors=POINTER,
        pytorch_model__bin=POINTER,
    )
    assert folder_layout(folder) == "hf"


def test_of_two_layouts_the_one_whose_weights_are_no_pointers(tmp_path: Path) -> None:
    folder = put(
        tmp_path / "m",
        config__json=LLAMA,
        params__json={},
        model__safetensors=POINTER,
        consolidated__safetensors=b"x",
    )
    assert folder_layout(folder) == "meta"


def test_what_is_no_folder_says_what_it_is(tmp_path: Path) -> None:
    put(tmp_path, a__gguf=b"GGUF", model__safetensors=b"x")
    assert "is a GGUF file, which no engine of Berth reads" in refusal(tmp_path / "a.gguf")
    assert "name the folder that it is in" in refusal(tmp_path / "model.safetensors")
    assert "there is no such folder" in refusal(tmp_path / "nowhere")


def test_a_link_into_a_cache_that_was_emptied_is_named(tmp_path: Path) -> None:
    folder = put(tmp_path / "m", config__json=LLAMA)
    (folder / "model.safetensors").symlink_to("../blobs/abc")
    assert "is a link to ../blobs/abc, which is not there; download the file" in refusal(folder)


def test_a_file_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel says it; a test that runs as root is refused nothing."""
    folder = put(tmp_path / "m", config__json=LLAMA, model__safetensors=b"x")
    opened: Callable[..., object] = Path.open

    def refusing(path: Path, *mode: str) -> object:
        if path.name == "model.safetensors":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *mode)

    monkeypatch.setattr(Path, "open", refusing)
    said = refusal(folder)
    assert said.startswith(f"{folder / 'model.safetensors'} cannot be read: Permission denied; let")


@pytest.mark.parametrize(("given", "where"), [(".", "tiny"), ("", "tiny"), ("..", "tiny/sub")])
def test_a_folder_given_by_dots_is_refused_by_its_own_name(
    given: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny/sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / where)
    assert refusal(Path(given)).startswith("tiny is no model folder")
