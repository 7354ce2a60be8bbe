"""The table of engines is true of the engines themselves."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from berth.cli.ends import modules_of
from berth.protocol.engines import ENGINES, GENERATING, EngineKind

ROOT = Path(__file__).parents[2]


def test_every_engine_has_a_row_and_every_row_is_an_engine() -> None:
    assert set(ENGINES) == set(get_args(EngineKind))


@pytest.mark.parametrize("kind", ENGINES)
def test_an_engines_module_can_be_started_and_its_extra_installed(kind: EngineKind) -> None:
    traits = ENGINES[kind]
    assert importlib.util.find_spec(f"{traits.module}.__main__") is not None
    main = Path(*traits.module.split("."), "__main__.py")
    assert f'run_rank("{kind}", ' in (ROOT / "src" / main).read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert traits.extra in project["optional-dependencies"]
    assert all(importlib.util.find_spec(module) for module in modules_of(traits.extra))


def test_one_engine_generates_and_it_reads_a_layout_that_another_reads_too() -> None:
    assert [kind for kind, traits in ENGINES.items() if traits.generates] == [GENERATING]
    others = [traits for kind, traits in ENGINES.items() if kind != GENERATING]
    assert any(ENGINES[GENERATING].layouts & traits.layouts for traits in others)
