"""Every entry of the catalogue is complete and consistent, and errors say where to look."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from berth.checkpoint.choose import engine_for
from berth.checkpoint.describe import describe_hf
from berth.checkpoint.errors import NoEngine
from berth.checkpoint.folder import load_config
from berth.checkpoint.hf import CLASSES
from berth.checkpoint.numbers import parameter_count, tensors
from berth.cli.model_source import from_preset
from berth.fit import FitRequest, fit, own_gpus
from berth.fit.published import published_bytes
from berth.presets.catalogue import (
    Preset,
    PresetError,
    find_preset,
    load_presets,
    preset_of_hub,
    presets_folder,
    read_family,
    schema,
)

PRESETS = load_presets()
ENTRY: dict[str, Any] = {
    "name": "small",
    "title": "A small one",
    "hub": "someone/small",
    "licence": "mit",
    "parameters": 3_120,
    "context": 64,
    "engine": "native",
    "template": "plain",
    "config": {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 28,
        "max_position_embeddings": 64,
    },
}


@pytest.fixture
def family(tmp_path: Path) -> Any:
    """Writes a preset.yaml with the entry changed, and gives its folder of families."""

    def write(*changes: dict[str, Any]) -> Path:
        entries = [
            {key: value for key, value in (ENTRY | change).items() if value is not ...}
            for change in changes
        ]
        content = {"family": "few", "title": "Few", "presets": entries}
        (tmp_path / "few").mkdir(exist_ok=True)
        (tmp_path / "few" / "preset.yaml").write_text(yaml.safe_dump(content))
        return tmp_path

    return write


def test_the_catalogue_has_at_least_seventy_versions() -> None:
    assert len(PRESETS) >= 70


@pytest.mark.parametrize(
    "name",
    [
        *(f"llama-{size}" for size in ("7b", "13b", "30b", "65b")),
        *(f"llama-2-{size}{chat}" for size in ("7b", "13b", "70b") for chat in ("", "-chat")),
        *(f"alpaca-{size}" for size in ("7b", "13b", "30b")),
        *(f"falcon-{size}{kind}" for size in ("7b", "40b") for kind in ("", "-instruct")),
        "vicuna-13b-v1.5",
        "orca-mini-3b",
        "mistral-7b-instruct",
        "mixtral-8x7b-instruct",
        "e5-large-v2",
        "universal-sentence-encoder",
        "pocket",
    ],
)
def test_the_models_that_the_seeds_name_are_there(name: str) -> None:
    assert find_preset(name).name == name


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_the_stated_parameters_follow_from_the_numbers(preset: Preset) -> None:
    numbers = preset.numbers
    if numbers is None:
        assert preset.unknown
        return
    assert preset.parameters is not None
    assert numbers.missing == ()
    assert parameter_count(numbers) == pytest.approx(preset.parameters, rel=0.01)


MEASURED = [preset for preset in PRESETS.values() if preset.weight_files_gib]


@pytest.mark.parametrize("preset", MEASURED, ids=lambda preset: preset.name)
def test_files_are_as_large_as_the_numbers_say(preset: Preset) -> None:
    """Quantised ones too: the packed tensors with their scales, the others as they are."""
    numbers = preset.numbers
    assert numbers is not None
    assert preset.weight_files_gib is not None
    size = published_bytes(numbers)
    assert size is not None
    gib = size / 2**30
    # Layers for multi-token prediction are in the files; sizes are stated to 0.01 GiB.
    slack = 0.03 if numbers.unused else max(0.001, 0.006 / preset.weight_files_gib)
    assert gib <= preset.weight_files_gib * 1.001 + 0.005
    assert gib == pytest.approx(preset.weight_files_gib, rel=slack)


@pytest.mark.parametrize(
    ("name", "gib"), [("gpt-oss-20b", 12.82), ("gpt-oss-120b", 60.77), ("qwen3-8b-awq", 5.68)]
)
def test_quantised_weights_take_what_is_stored_and_no_more(name: str, gib: float) -> None:
    """OpenAI states 12.8 and 60.8 GiB for the checkpoints of gpt-oss (model card, table 1)."""
    found = from_preset(find_preset(name))
    asked = FitRequest(
        model=found.numbers,
        machine=own_gpus("H200", 1),
        engine="vllm",
        stored_bytes=found.stored_bytes,
    )
    verdict = fit(asked)
    assert verdict.worst is not None
    assert verdict.worst.of("weights") / 2**30 == pytest.approx(gib, abs=0.02)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_the_native_engine_is_named_only_for_what_it_computes(preset: Preset) -> None:
    if preset.engine == "native":
        assert preset.architecture in CLASSES
        assert preset.numbers is not None
        assert preset.numbers.quantization is None


@pytest.mark.parametrize(
    "preset", [p for p in PRESETS.values() if p.config], ids=lambda preset: preset.name
)
def test_the_engine_is_the_one_that_a_folder_of_the_model_gets(preset: Preset) -> None:
    """As an installation with Berth's extras has it, and nothing more."""
    try:
        engine: str = engine_for(describe_hf(preset.config or {}), installed=lambda _: False).engine
    except NoEngine:
        engine = "none"
    assert preset.engine == engine


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_every_tensor_falls_into_units_that_ranks_can_share(preset: Preset) -> None:
    for tensor in tensors(preset.numbers) if preset.numbers else ():
        assert tensor.elements > 0
        if tensor.shard is not None:
            assert tensor.shape[tensor.shard] % tensor.units == 0, tensor


def test_weights_of_the_catalogue_itself_are_what_their_entry_says() -> None:
    included = [preset for preset in PRESETS.values() if preset.weights]
    assert [preset.name for preset in included] == ["pocket"]
    preset = included[0]
    assert preset.weights is not None
    assert preset.weights.is_dir()
    read = load_config(preset.weights)
    numbers = preset.numbers
    assert numbers is not None
    assert (read.hidden_size, read.num_layers) == (numbers.hidden, len(numbers.layers))
    assert (read.vocab_size, read.intermediate_size) == (numbers.vocab, numbers.intermediate)
    assert (read.num_heads, read.num_kv_heads) == (numbers.heads, numbers.kv_heads)
    assert read.max_position == preset.context


def test_what_kaito_asks_for_llama_2_and_falcon_is_its_webhooks() -> None:
    asked = {
        name: (p.kaito.gpus, p.kaito.gpu_memory_gb, p.kaito.total_memory_gb)
        for name, p in PRESETS.items()
        if p.kaito
    }
    falcon_7b, falcon_40b = (1, 0, 15), (2, 0, 90)
    assert asked == {
        "falcon-7b": falcon_7b,
        "falcon-7b-instruct": falcon_7b,
        "falcon-40b": falcon_40b,
        "falcon-40b-instruct": falcon_40b,
        "llama-2-7b": (1, 14, 14),
        "llama-2-7b-chat": (1, 14, 14),
        "llama-2-13b": (2, 15, 30),
        "llama-2-13b-chat": (2, 15, 30),
        "llama-2-70b": (8, 19, 152),
        "llama-2-70b-chat": (8, 19, 152),
    }


def test_every_family_has_a_page_that_names_its_presets() -> None:
    for preset in PRESETS.values():
        if preset.family != "pocket":  # its page is another's
            page = presets_folder() / preset.family / "README.md"
            assert f"| `{preset.name}` |" in page.read_text()


def test_the_published_schema_is_that_of_the_loader() -> None:
    published = json.loads((presets_folder() / "schema.json").read_text())
    assert published == schema(), "write it anew: python -m tools.preset_schema presets"


def test_an_entry_is_read_whole(family: Any) -> None:
    preset = find_preset("small", family({"gated": True, "revision": "0123456789" * 4}))
    assert preset.family == "few"
    assert preset.hub == "someone/small"
    assert preset.gated is True
    assert preset.architecture == "LlamaForCausalLM"
    assert preset.numbers is not None
    assert parameter_count(preset.numbers) == 3_120


def test_weights_lie_beside_their_file(family: Any) -> None:
    folder = family({"weights": "here", "hub": ...})
    assert find_preset("small", folder).weights == folder / "few" / "here"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"licence": ...}, "preset small: .*missing required field `licence`"),
        ({"colour": "red"}, "preset small: .*unknown field `colour`"),
        ({"context": "long"}, "preset small: context: Expected `int`, got `str`"),
        ({"context": 0}, "preset small: context: Expected `int` >= 1"),
        ({"name": "Small"}, "preset Small: name: "),
        ({"engine": "vroom"}, "preset small: engine: Invalid enum value 'vroom'"),
        ({"revision": "main"}, "preset small: revision: "),
        ({"hub": "nameless"}, "preset small: hub: "),
        ({"hub": ...}, "preset small: it should say where its weights are"),
        ({"hub": ..., "source": "x", "revision": "0" * 40}, "preset small: revision is one of hub"),
        ({"engine": "none"}, "preset small: reason belongs to engine none"),
        ({"reason": "why not"}, "preset small: reason belongs to engine none"),
        ({"config": ...}, "preset small: it should have either config, or unknown"),
        ({"unknown": "?"}, "preset small: it should have either config, or unknown"),
        ({"parameters": ...}, "preset small: parameters belongs to config"),
        ({"pooling": "mean"}, "preset small: pooling belongs to embedding models"),
        ({"context": 32}, "preset small: context is 32, but its config says 64"),
        ({"config": {"architectures": ["Foo"]}}, "preset small: config: architecture Foo is not"),
        ({"kaito": {"gpus": 1}}, "preset small: kaito: .*missing required field"),
        ({"family": "other"}, "preset small: family is the file's"),
    ],
)
def test_an_error_names_file_preset_and_key(
    family: Any, change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(PresetError, match=rf"few/preset\.yaml: {complaint}"):
        load_presets(family(change))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("family: [", "cannot be read"),
        ("family: few", "should have the keys family, title and presets"),
        ("{family: few, title: Few, presets: 3}", "presets should be a list"),
        ("{family: few, title: Few, presets: [3]}", "a preset should be a mapping"),
        ("{family: many, title: Few, presets: []}", "family should be 'few'"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "few" / "preset.yaml"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(PresetError, match=complaint):
        read_family(file)


def test_two_presets_of_one_name_are_refused(family: Any) -> None:
    with pytest.raises(PresetError, match="there is a preset 'small' already"):
        load_presets(family({}, {}))


def test_a_wrong_name_gets_the_nearest_ones() -> None:
    with pytest.raises(PresetError, match="did you mean llama-2-7b-chat"):
        find_preset("llama2-7b-chat")


def test_a_folder_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BERTH_PRESETS", str(tmp_path / "none"))
    with pytest.raises(PresetError, match="set BERTH_PRESETS"):
        load_presets()


def test_a_hub_repository_leads_to_its_preset() -> None:
    found = preset_of_hub("meta-llama/llama-2-7b-CHAT-hf")
    assert found is not None
    assert found.name == "llama-2-7b-chat"
    assert preset_of_hub("nobody/nothing") is None


def test_hub_ids_are_of_one_preset_each() -> None:
    hubs = [preset.hub for preset in PRESETS.values() if preset.hub]
    assert len(set(hubs)) == len(hubs)


@pytest.mark.parametrize(
    "preset", [p for p in load_presets().values() if p.config is not None], ids=lambda p: p.name
)
def test_the_engine_is_the_one_that_the_models_folder_would_get(preset: Preset) -> None:
    """So a Workspace, which goes by the catalogue, plans what `berth serve` starts."""
    if preset.engine == "none":
        return  # with a reason that config.json does not tell
    assert preset.config is not None
    assert engine_for(describe_hf(preset.config)).engine == preset.engine
