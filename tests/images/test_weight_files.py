"""Weights that are not whole, or another model's, are refused by name before they are copied."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from berth.images.weight_files import WeightsMissing, check_weights, needed_names
from berth.presets.catalogue import Preset, load_presets
from images.checkout import PARAMETERS, Checkout, make_checkout, write_huggingface, write_meta


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return make_checkout(tmp_path)


@pytest.fixture
def preset(checkout: Checkout) -> Preset:
    return load_presets(checkout.root / "presets")["llama-2-7b-chat"]


def test_metas_files_are_counted(tmp_path: Path, preset: Preset) -> None:
    folder = write_meta(tmp_path / "weights", shards=2)
    (folder / "checklist.chk").write_text("not needed")
    found = check_weights(folder, preset)
    assert found.names == ("consolidated.00.pth", "consolidated.01.pth")
    needed = ("params.json", "tokenizer.model", *found.names)
    assert found.total_bytes == sum((folder / name).stat().st_size for name in needed)


@pytest.mark.parametrize("shards", [1, 3])
def test_hugging_faces_files_are_counted(tmp_path: Path, preset: Preset, shards: int) -> None:
    found = check_weights(write_huggingface(tmp_path / "weights", shards), preset)
    assert len(found.names) == shards
    assert found.total_bytes > PARAMETERS // shards * shards * 4


def test_metas_tokeniser_may_lie_beside_all_versions(tmp_path: Path, preset: Preset) -> None:
    folder = write_meta(tmp_path / "llama" / "7b")
    whole = check_weights(folder, preset).total_bytes
    beside = (folder / "tokenizer.model").rename(tmp_path / "llama" / "tokenizer.model")
    found = check_weights(folder, preset)
    assert (found.beside, found.total_bytes) == (beside, whole)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut(name: str, share: float = 0.5) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return apply


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        pytest.param(remove("params.json"), r"lacks params\.json", id="no params"),
        pytest.param(remove("tokenizer.model"), "lacks the tokeniser: tokenizer.json or", id="tok"),
        pytest.param(
            remove("consolidated.01.pth"),
            r"lacks consolidated\.01\.pth; it holds consolidated\.00\.pth, consolidated\.02",
            id="a gap",
        ),
        pytest.param(
            remove("consolidated.03.pth"), r"lacks consolidated\.03\.pth; it holds", id="the last"
        ),
        pytest.param(cut("consolidated.02.pth"), r"consolidated\.02\.pth: .*truncated", id="cut"),
    ],
)
def test_what_is_missing_of_metas_files_is_named(
    tmp_path: Path, preset: Preset, harm: Callable[[Path], None], sentence: str
) -> None:
    folder = write_meta(tmp_path / "weights", shards=4)
    harm(folder)
    with pytest.raises(WeightsMissing, match=sentence):
        check_weights(folder, preset)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        pytest.param(
            remove("model-00002-of-00003.safetensors"),
            r"lacks model-00002-of-00003\.safetensors, which model\.safetensors\.index\.json names",
            id="a file of the index",
        ),
        pytest.param(
            cut("model-00003-of-00003.safetensors"),
            r" in .*model-00003-of-00003\.safetensors: the file is truncated: it has \d+ bytes",
            id="truncated",
        ),
        pytest.param(
            cut("model-00001-of-00003.safetensors", 0.0005),
            r"model-00001-of-00003\.safetensors: the file is truncated within its header",
            id="cut in the header",
        ),
        pytest.param(remove("tokenizer.json"), "lacks the tokeniser", id="tokeniser"),
        pytest.param(
            remove("model.safetensors.index.json"), None, id="without an index all files count"
        ),
    ],
)
def test_what_is_missing_of_hugging_faces_files_is_named(
    tmp_path: Path, preset: Preset, harm: Callable[[Path], None], sentence: str | None
) -> None:
    folder = write_huggingface(tmp_path / "weights", shards=3)
    harm(folder)
    if sentence is None:
        assert len(check_weights(folder, preset).names) == 3
        return
    with pytest.raises(WeightsMissing, match=sentence):
        check_weights(folder, preset)


def keep_one_of(folder: Path) -> None:
    """Half of a model, as if it were all of it."""
    (folder / "model.safetensors.index.json").unlink()
    (folder / "model-00002-of-00002.safetensors").unlink()
    (folder / "model-00001-of-00002.safetensors").rename(folder / "model.safetensors")


def test_a_part_of_the_weights_is_told_by_its_size(tmp_path: Path, preset: Preset) -> None:
    folder = write_huggingface(tmp_path / "weights", shards=2)
    keep_one_of(folder)
    with pytest.raises(
        WeightsMissing, match=r"are 153 KiB, and those of llama-2-7b-chat are 305 KiB"
    ):
        check_weights(folder, preset)


def test_another_models_weights_are_refused(tmp_path: Path, preset: Preset) -> None:
    folder = write_huggingface(tmp_path / "hf", num_hidden_layers=3)
    with pytest.raises(WeightsMissing, match=r"config\.json has layers 3, and .* has 2"):
        check_weights(folder, preset)
    folder = write_meta(tmp_path / "meta")
    (folder / "params.json").write_text('{"dim": 8192, "n_layers": 2}')
    with pytest.raises(WeightsMissing, match=r"params\.json has dim 8192, and .* has 64"):
        check_weights(folder, preset)


def test_quantised_weights_may_be_smaller(tmp_path: Path, preset: Preset) -> None:
    folder = write_huggingface(tmp_path / "w", 2, quantization_config={"quant_method": "gptq"})
    keep_one_of(folder)
    assert check_weights(folder, preset).names == ("model.safetensors",)


def test_what_the_index_names_goes_into_the_image_and_nothing_beside_it(
    tmp_path: Path, preset: Preset
) -> None:
    folder = write_huggingface(tmp_path / "w", shards=2)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    (folder / "model-00002-of-00002.safetensors").rename(folder / "mtp.safetensors")
    renamed = {"model-00002-of-00002.safetensors": "./mtp.safetensors"}
    content["weight_map"] = {t: renamed.get(f, f) for t, f in content["weight_map"].items()}
    index.write_text(json.dumps(content))
    shutil.copy(folder / "mtp.safetensors", folder / "model.fp16-00002-of-00002.safetensors")
    found = check_weights(folder, preset)
    assert found.names == ("model-00001-of-00002.safetensors", "mtp.safetensors")
    assert {"mtp.safetensors", index.name, "tokenizer.json"} <= set(needed_names(folder))
    assert "model.fp16-00002-of-00002.safetensors" not in needed_names(folder)


def test_of_two_layouts_the_one_whose_weights_are_there(tmp_path: Path, preset: Preset) -> None:
    folder = write_meta(tmp_path / "w", shards=2)
    (folder / "config.json").write_text("{}")
    assert check_weights(folder, preset).names == ("consolidated.00.pth", "consolidated.01.pth")


def test_a_folder_of_something_else_is_described(tmp_path: Path, preset: Preset) -> None:
    with pytest.raises(WeightsMissing, match=r"there is no folder .*nowhere"):
        check_weights(tmp_path / "nowhere", preset)
    (tmp_path / "other").mkdir()
    with pytest.raises(WeightsMissing, match=r"needs config\.json and .* holds no files"):
        check_weights(tmp_path / "other", preset)
    (tmp_path / "other" / "model.gguf").write_text("x")
    with pytest.raises(WeightsMissing, match=r"and holds model\.gguf"):
        check_weights(tmp_path / "other", preset)


def test_the_built_in_models_weights_are_whole() -> None:
    preset = load_presets()["pocket"]
    assert preset.weights is not None
    found = check_weights(preset.weights, preset)
    assert found.names == ("consolidated.00.pth",)
    files = sum(path.stat().st_size for path in preset.weights.iterdir())
    assert found.total_bytes == files
