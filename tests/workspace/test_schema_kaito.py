"""KAITO's own examples are accepted as they stand; what Berth does not do of them is refused."""

from __future__ import annotations

import pytest

from berth.cli.plan_files import OTHER_KINDS
from berth.presets.catalogue import load_presets
from berth.workspace.parse import find_preset
from berth.workspace.validate import complaints
from workspace.admission import ApiServer, Refused
from workspace.kaito_examples import first_release, not_done, today
from workspace.manifests import ROOT, Json, crd

EXAMPLES = {f"v1alpha1 {k}": v for k, v in first_release().items()} | {
    f"v1beta1 {k}": v for k, v in today().items()
}


@pytest.mark.parametrize("manifest", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_is_accepted_as_it_stands(manifest: Json) -> None:
    server = ApiServer(crd(), manifest["apiVersion"].rpartition("/")[2])
    stored = server.admit(manifest)
    assert complaints(manifest) == ()
    # Nothing of it is lost, whatever version it is read in.
    assert manifest["inference"].items() <= _without_defaults(stored, manifest).items()
    other = ApiServer(crd(), "v1beta1")
    assert (
        other.admit(stored | {"apiVersion": "kaito.sh/v1beta1"})["inference"]
        == (stored["inference"])
    )


@pytest.mark.parametrize("manifest", EXAMPLES.values(), ids=EXAMPLES)
def test_an_examples_preset_is_in_the_catalogue(manifest: Json) -> None:
    name = manifest["inference"]["preset"]["name"]
    assert find_preset(name, load_presets()) is not None


@pytest.mark.parametrize(("manifest", "field"), not_done().values(), ids=not_done())
def test_what_berth_does_not_do_is_refused_by_name(manifest: Json, field: str) -> None:
    with pytest.raises(Refused) as raised:
        ApiServer(crd(), "v1beta1").admit(manifest)
    assert [text for text in raised.value.sentences if not text.startswith(field)] == []
    assert [text.split(":")[0] for text in complaints(manifest)] == [field]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("LLAMA-2-7B-Chat", "llama-2-7b-chat"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama-2-7b-chat"),
        ("META-LLAMA/llama-2-7b-chat-HF", "llama-2-7b-chat"),
        ("gemma-3-27b-instruct", "gemma-3-27b-it"),
        ("google/gemma-3-27b-it", "gemma-3-27b-it"),
    ],
)
def test_a_preset_is_found_by_any_of_its_names(name: str, found: str) -> None:
    preset = find_preset(name, load_presets())
    assert preset is not None
    assert preset.name == found


@pytest.mark.parametrize("name", ["llama-5", "someone/unknown", ""])
def test_what_the_catalogue_has_not_is_not_found(name: str) -> None:
    assert find_preset(name, load_presets()) is None


def _without_defaults(stored: Json, manifest: Json) -> Json:
    """What is stored of inference, without what was added to the preset."""
    added = stored["inference"]["preset"].keys() - manifest["inference"]["preset"].keys()
    assert added <= {"accessMode"}
    preset = {k: v for k, v in stored["inference"]["preset"].items() if k not in added}
    return {**stored["inference"], "preset": preset}


def test_what_berth_does_not_do_is_listed_for_those_who_come_from_kaito() -> None:
    text = (ROOT / "docs" / "from-kaito.md").read_text()
    for field in {field for _, field in not_done().values()}:
        assert f"`{field}`" in text
    for kind in OTHER_KINDS:
        assert f"`{kind}`" in text or f"kind: {kind}`" in text
