"""Which files a pull fetches, and which it never does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.presets.hub_files import (
    HubFile,
    PullError,
    Source,
    is_pickle,
    needed_files,
    parse_source,
)


def chosen(*paths: str, only: str | None = None) -> list[str]:
    return [file.path for file in needed_files([HubFile(path, 1) for path in paths], only)]


def test_safetensors_go_before_everything_else() -> None:
    assert chosen(
        ".gitattributes",
        "README.md",
        "LICENSE.txt",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "modeling_custom.py",
        "original/consolidated.00.pth",
        "pytorch_model-00001-of-00002.bin",
        "tokenizer.json",
        "consolidated.safetensors",
        "onnx/model.onnx",
    ) == [
        "LICENSE.txt",
        "config.json",
        "model.safetensors.index.json",
        "tokenizer.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]


def test_one_whole_file_goes_before_its_parts() -> None:
    parts = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    assert chosen("model.safetensors", *parts) == ["model.safetensors"]


def test_safetensors_of_another_name_will_do() -> None:
    assert chosen("consolidated.safetensors") == ["consolidated.safetensors"]


def test_metas_layout_is_taken_where_there_is_nothing_else() -> None:
    files = ["consolidated.00.pth", "consolidated.01.pth", "params.json", "tokenizer.model"]
    assert chosen(*files) == ["params.json", "tokenizer.model", *files[:2]]
    with pytest.raises(PullError, match="only there as consolidated"):
        chosen("consolidated.00.pth")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt", "model.ckpt", "x.PKL"])
def test_pickles_are_refused(name: str) -> None:
    with pytest.raises(PullError, match=f"only there as {name}, a pickle, which can run code"):
        chosen("config.json", name)
    with pytest.raises(PullError, match=f"{name} is a pickle"):
        chosen("model.safetensors", name, only=name)


def test_gguf_is_taken_by_name() -> None:
    files = ("README.md", "m.Q4_K_M.gguf", "m.Q8_0.gguf")
    assert chosen(*files, only="m.Q8_0.gguf") == ["m.Q8_0.gguf"]
    with pytest.raises(PullError, match=r"several GGUF files; name one after a colon: m\.Q4_K_M"):
        chosen(*files)
    assert chosen("README.md", "m.Q8_0.gguf") == ["m.Q8_0.gguf"]


def test_all_parts_of_a_gguf_come_together() -> None:
    parts = [f"big/m-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    assert chosen(*parts, "big/other-00001-of-00001.gguf", only=parts[1]) == parts
    assert chosen(*(part.removeprefix("big/") for part in parts)) == [
        part.removeprefix("big/") for part in parts
    ]


def test_a_named_safetensors_brings_what_it_needs() -> None:
    files = ("config.json", "model.safetensors", "model.fp8.safetensors")
    assert chosen(*files, only="model.fp8.safetensors") == ["config.json", "model.fp8.safetensors"]


def test_a_repository_without_weights_says_what_it_holds() -> None:
    with pytest.raises(PullError, match=r"holds no weights that we read .* only README\.md"):
        chosen("README.md")
    with pytest.raises(PullError, match="it is empty"):
        chosen()
    with pytest.raises(PullError, match=r"there is no file x\.gguf; there are README\.md"):
        chosen("README.md", only="x.gguf")


NAMES = st.sampled_from(
    [
        "config.json",
        "consolidated.00.pth",
        "m.gguf",
        "model-00001-of-00002.safetensors",
        "model.safetensors",
        "n.gguf",
        "params.json",
        "pytorch_model.bin",
        "run.py",
        "sub/model.safetensors",
        "tokenizer.json",
    ]
)


@given(st.sets(NAMES))
def test_what_may_run_code_is_never_chosen(names: set[str]) -> None:
    try:
        found = chosen(*sorted(names))
    except PullError:
        return
    assert len(set(found)) == len(found)
    assert set(found) <= names
    assert not any(name.endswith(".py") for name in found)
    pickles = [name for name in found if is_pickle(name)]
    assert pickles in ([], ["consolidated.00.pth"])
    assert not (pickles and any(name.endswith(".safetensors") for name in found))


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("Qwen/Qwen3-8B", Source("Qwen/Qwen3-8B")),
        ("a/b:c.gguf", Source("a/b", "c.gguf")),
        ("a/b:d/c.gguf@v1", Source("a/b", "d/c.gguf", "v1")),
        ("a/b@0123", Source("a/b", None, "0123")),
        ("a", None),
        ("a/b/c", None),
        ("/a/b", None),
        ("a/..", None),
        ("a/b:../c", None),
        ("a/b:", None),
    ],
)
def test_sources_are_read_from_words(text: str, source: Source | None) -> None:
    assert parse_source(text) == source
    if source is not None and source.revision is None:
        assert str(source) == text
