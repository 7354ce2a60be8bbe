"""docs/models.md says what the catalogue and the tests say."""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForCausalLM

from berth.checkpoint.hf import CLASSES
from berth.presets.catalogue import load_presets
from e2e.berth_server import ROOT
from engines.transformers.tiny_models import ARCHITECTURES
from tools.models_page import TESTED_NATIVE, TESTED_TRANSFORMERS, page


def test_the_page_is_the_generated_one() -> None:
    assert (ROOT / "docs" / "models.md").read_text() == page(), "run make docs"


def test_there_are_at_least_70_models_each_with_a_row() -> None:
    presets = load_presets()
    assert len(presets) >= 70
    for name in presets:
        assert f"| {name} |" in page()


def test_what_is_called_tested_has_a_test() -> None:
    ends = ("Model", "TextModel")  # of their base classes
    bases = {name.replace("ForCausalLM", end) for name in TESTED_NATIVE for end in ends}
    # What is left is an old spelling of Llama.
    assert {"LLaMAForCausalLM"} == set(CLASSES) - TESTED_NATIVE - bases
    mapping = AutoModelForCausalLM._model_mapping
    kinds = {kind for kind, _ in ARCHITECTURES.values()}
    tested = {mapping[type(AutoConfig.for_model(kind))].__name__ for kind in kinds}
    assert tested == TESTED_TRANSFORMERS
