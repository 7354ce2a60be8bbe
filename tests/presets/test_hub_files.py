"""Which files a pull fetches, and which it never does."""

from __future__ import annotations

import json
from collections.abc import Mapping

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
from berth.presets.hub_files import chosen as choose


def chosen(*paths: str, only: str | None = None) -> list[str]:
    return [file.path for file in needed_files([HubFile(path, 1) for path in paths], only)]


def weights(contents: Mapping[str, object], only: str | None = None, **more: str) -> list[str]:
    """The weights chosen among files whose content is JSON."""
    files = [HubFile(path, 1) for path in contents]
    found = needed_files(files, only, read=lambda path: json.dumps(contents[path]).encode(), **more)
    return [file.path for file in found if file.path.endswith((".safetensors", ".gguf", ".pth"))]


def index(*names: str) -> dict[str, object]:
    return {"weight_map": {f"tensor{i}": name for i, name in enumerate(names)}}


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


PARTS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"


def test_what_the_index_names_is_fetched_whatever_its_name_and_nothing_else() -> None:
    """Case 09: the layers for multi-token prediction lie in a file of their own."""
    named = {INDEX: index(*PARTS, "./mtp.safetensors", "extra/head.safetensors")}
    others = dict.fromkeys(
        [*PARTS, "mtp.safetensors", "extra/head.safetensors", "draft.safetensors", "config.json"]
    )
    assert weights({**named, **others}) == sorted(
        ["extra/head.safetensors", *PARTS, "mtp.safetensors"]
    )


def test_a_second_number_format_is_left_out_unless_it_is_asked_for() -> None:
    second = [name.replace("model-", "model.fp16-") for name in PARTS]
    files = {INDEX: index(*PARTS), "model.safetensors.index.fp16.json": index(*second)}
    files |= dict.fromkeys([*PARTS, *second])
    assert weights(files) == list(PARTS)
    assert weights(files, variant="fp16") == second
    assert chosen(*PARTS, *second) == list(PARTS)
    with pytest.raises(PullError, match=r"there is no variant fp8 .*there are fp16"):
        weights(files, variant="fp8")


def test_a_repository_of_variants_alone_gives_the_only_one() -> None:
    assert chosen("model.fp16.safetensors") == ["model.fp16.safetensors"]
    with pytest.raises(PullError, match=r"several variants .* name one with --variant: bf16, fp16"):
        chosen("model.fp16.safetensors", "model.bf16.safetensors")


def test_an_index_of_another_name_is_read() -> None:
    files = {"lm.safetensors.index.json": index("lm-1.safetensors", "lm-2.safetensors")}
    files |= dict.fromkeys(["lm-1.safetensors", "lm-2.safetensors", "other.safetensors"])
    assert weights(files) == ["lm-1.safetensors", "lm-2.safetensors"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (index("model-1.safetensors"), "it lacks model-1.safetensors, which its model.safetensors"),
        (index("../x.safetensors"), "names ../x.safetensors, which is outside of the repository"),
        (index("/x.safetensors"), "names /x.safetensors, which is outside of the repository"),
        (index("pytorch_model.bin"), "names pytorch_model.bin, which is no safetensors file"),
        ({"weight_map": {}}, "names no file"),
        ({"weight_map": [1]}, "is no index of weights"),
        ({"weight_map": {"a": 3}}, "is no index of weights"),
        ([], "is no index of weights"),
    ],
)
def test_an_index_that_cannot_be_followed_is_refused(content: object, complaint: str) -> None:
    with pytest.raises(PullError, match=complaint):
        weights({INDEX: content, "pytorch_model.bin": None})


ADAPTER = {"base_model_name_or_path": "meta-llama/Llama-2-7b-hf", "peft_type": "LORA"}


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_model.bin"])
def test_an_adapter_is_refused_with_its_base_and_the_cure(name: str) -> None:
    files = {"adapter_config.json": ADAPTER, name: None, "tokenizer.json": None}
    files |= {"training_args.bin": None, "README.md": None}
    said = r"an adapter \(LoRA\) of meta-llama/Llama-2-7b-hf, and no model itself.*merge_and_unload"
    with pytest.raises(PullError, match=said):
        weights(files)
    with pytest.raises(PullError, match=r"an adapter \(LoRA\) of another model"):
        chosen(*files)


def test_an_adapter_does_not_win_over_the_refusal_of_a_pickle() -> None:
    files = {"adapter_config.json": ADAPTER, "adapter_model.safetensors": None}
    said = (
        r"only there as pytorch_model\.bin, a pickle.*adapter \(LoRA\) of meta-llama/Llama-2-7b-hf"
    )
    with pytest.raises(PullError, match=said):
        weights({**files, "pytorch_model.bin": None})


def test_a_model_with_an_adapter_beside_it_comes_without() -> None:
    files = {"adapter_config.json": ADAPTER, "adapter_model.safetensors": None}
    assert weights({**files, "model.safetensors": None}) == ["model.safetensors"]
    paths = [HubFile(path, 1) for path in (*files, "model.safetensors")]
    assert "adapter_config.json" not in [file.path for file in needed_files(paths)]
    assert "was left out" in choose(paths)[1].notes[0]


def test_what_a_trainer_leaves_is_no_model() -> None:
    with pytest.raises(PullError, match="holds no weights that we read"):
        chosen("config.json", "training_args.bin", "optimizer.pt", "rng_state_0.pth")


def test_mistrals_layout_brings_its_description_and_tokeniser() -> None:
    files = ("consolidated.safetensors", "params.json", "tekken.json", "SYSTEM_PROMPT.txt")
    assert chosen(*files) == ["params.json", "tekken.json", "consolidated.safetensors"]
    parts = {f"consolidated-0000{i}-of-00002.safetensors": None for i in (1, 2)}
    listed = {"consolidated.safetensors.index.json": index(*parts), "params.json": {}, **parts}
    assert weights(listed) == list(parts)


def test_of_two_layouts_one_set_is_taken() -> None:
    both = ("config.json", "params.json", "tekken.json", "consolidated.safetensors", *PARTS)
    assert chosen(*both) == ["config.json", "tekken.json", *PARTS]
    assert chosen("config.json", "params.json", "consolidated.00.pth", "model.safetensors") == [
        "config.json",
        "model.safetensors",
    ]


def test_a_folder_of_the_repository_can_be_named() -> None:
    original = ["original/consolidated.00.pth", "original/params.json", "original/tokenizer.model"]
    with pytest.raises(PullError, match=r"in folders of it; name one .* HUB_ID:original: original"):
        chosen("README.md", *original)
    assert chosen("README.md", *original, only="original") == [*original[1:], original[0]]
    inner = {f"fp8/{INDEX}": index("a.safetensors"), "fp8/a.safetensors": None}
    assert weights({**inner, "model.safetensors": None}, "fp8/") == ["fp8/a.safetensors"]


def test_a_gguf_file_is_found_by_its_quantisation() -> None:
    files = ("m.Q4_K_M.gguf", "m-Q8_0.gguf", "BF16/m-BF16-00001-of-00002.gguf")
    files += ("BF16/m-BF16-00002-of-00002.gguf", "mmproj-m-BF16.gguf")
    assert chosen(*files, only="q4_k_m") == ["m.Q4_K_M.gguf"]
    assert chosen(*files, only="Q8_0") == ["m-Q8_0.gguf"]
    assert chosen(*files, only="BF16/m-BF16-00001-of-00002.gguf") == list(files[2:4])
    with pytest.raises(PullError, match="there is no file Q2_K"):
        chosen(*files, only="Q2_K")
    with pytest.raises(PullError, match=r"several GGUF files are Q4_K_M; name one"):
        chosen("a.Q4_K_M.gguf", "b.Q4_K_M.gguf", only="Q4_K_M")


def test_a_vision_tower_beside_a_gguf_file_is_no_second_model() -> None:
    assert chosen("m.Q8_0.gguf", "mmproj-m-f16.gguf", "imatrix.gguf") == ["m.Q8_0.gguf"]


def test_all_parts_of_a_named_safetensors_come_together() -> None:
    parts = [name.replace("model-", "model.fp8-") for name in PARTS]
    assert chosen(*PARTS, *parts, only=parts[0]) == parts


def test_tokenisers_of_every_kind_come_along() -> None:
    files = ("tokenizer.model.v3", "qwen.tiktoken", "tiktoken.model", "vocab.json", "merges.txt")
    more = ("additional_chat_templates/tool_use.jinja", "hf_quant_config.json")
    assert chosen(*files, *more, "model.safetensors", "x.py") == [
        *sorted([*files, *more]),
        "model.safetensors",
    ]


NAMES = st.sampled_from(
    [
        "adapter_config.json",
        "adapter_model.bin",
        "adapter_model.safetensors",
        "config.json",
        "consolidated.00.pth",
        "consolidated.safetensors",
        "m.gguf",
        "model-00001-of-00002.safetensors",
        "model.fp16.safetensors",
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
    assert not any(name.startswith("adapter_") for name in found)
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
