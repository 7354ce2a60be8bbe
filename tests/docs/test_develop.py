"""docs/develop.md: what it names is there, and what it asks for is done everywhere."""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest

from berth.checkpoint.architectures import all_architectures
from berth.checkpoint.fields import Fields
from berth.checkpoint.packed import name_of_packing, packed_layers
from berth.checkpoint.weight_format import FORMATS
from berth.cli.serve import serve
from berth.fit.engines import arithmetic
from berth.fit.quantization import scheme_of_checkpoint
from berth.models.formats import format_named
from berth.protocol.engines import EngineKind
from e2e.berth_server import ROOT
from models.packed import LAYOUTS, quantization

PAGE = (ROOT / "docs/develop.md").read_text()
_PATH = re.compile(r"`((?:src|tests|docs|docker|charts|presets|api)(?:/[\w./-]+)?)`")
_LINK = re.compile(r"\]\(([\w./-]+)(?:#[\w-]+)?\)")


@pytest.mark.parametrize("path", sorted(set(_PATH.findall(PAGE))))
def test_a_path_of_the_page_is_there(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_a_link_of_the_pages_for_contributors_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    assert all((ROOT / link).exists() for link in _LINK.findall(text))


def test_every_architecture_is_held_against_transformers() -> None:
    cases = (ROOT / "tests/checkpoint/test_numbers_transformers.py").read_text()
    exempt = {"RWForCausalLM", "MistralLarge3ForCausalLM"}  # other names of ones that are held
    names = {each.name for each in all_architectures()} - exempt
    assert {n for n in names if f'"{n.removesuffix("ForCausalLM")}' not in cases} == set()


def test_no_class_and_no_type_is_described_twice() -> None:
    classes = [name for each in all_architectures() for name in (each.name, *each.spelt)]
    types = [kind for each in all_architectures() for kind in each.types]
    assert (len(classes), len(types)) == (len(set(classes)), len(set(types)))


def test_every_native_architecture_has_its_module_and_a_row_of_parity() -> None:
    rows = (ROOT / "tests/engines/native/test_parity.py").read_text()
    rows += (ROOT / "tests/engines/native/test_parity_falcon.py").read_text()
    for each in all_architectures():
        if each.native is not None:
            assert find_spec(f"berth.models.{each.native.module}") is not None
            assert any(f'"{kind}"' in rows for kind in each.types), each.name


def test_every_weight_format_is_loaded_counted_and_held_to_its_floats() -> None:
    packed = {name for name in FORMATS if name != "plain"}
    assert {format_named(name).stored.name for name in FORMATS} == set(FORMATS)
    layouts = {quantization(layout, "lm_head")["format"] for layout in LAYOUTS}
    told = [packed_layers(Fields({"quantization_config": quantization(each)})) for each in layouts]
    assert {each["weight_format"] for each in told} == packed
    for each in told:
        scheme = scheme_of_checkpoint(name_of_packing(each["weight_format"], each["head_packed"]))
        assert scheme is not None
        assert scheme.name in arithmetic("native").schemes


def test_every_engine_of_the_protocol_can_be_asked_for() -> None:
    (option,) = (one for one in serve.params if one.name == "engine")
    assert set(option.type.choices) == {"auto", *EngineKind.__args__}  # type: ignore[attr-defined]
