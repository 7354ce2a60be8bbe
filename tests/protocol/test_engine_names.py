"""What sets engines apart is asked of the tables of them, and nowhere by an engine's name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import berth
from berth.fit.engines import ENGINES as COUNTED
from berth.fit.engines import arithmetic
from berth.protocol.engines import (
    DESCRIBED,
    ENGINES,
    GENERATING,
    LIBRARY,
    QUANTISING,
    EngineKind,
    parallel_of,
)

SOURCE = Path(berth.__file__).parent
TOOLS = Path(__file__).parents[2] / "tools"
NAMES = frozenset(COUNTED)
# The tables: one of what can be started, one of what each takes of a machine.
TABLES = {"protocol/engines.py", "fit/engines/__init__.py"}


def named(node: ast.AST) -> bool:
    """An engine's name, or a collection of them ("berth" and "vllm" are keys of KAITO's file)."""
    match node:
        case ast.Constant(value=str(text)):
            return text in NAMES
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
            others = {item.value for item in items if isinstance(item, ast.Constant)} - NAMES
            return any(named(item) for item in items) and others <= {"none", "auto", ""}
        case ast.Call(func=ast.Name(id="frozenset" | "set" | "tuple"), args=[only]):
            return named(only)
    return False


def asked_by_name(tree: ast.AST) -> Iterator[int]:
    """Lines that compare with an engine's name, match it, or look up by it."""
    kept = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and named(node.value)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=left, comparators=others):
                sides = [left, *others]
                if any(named(s) or (isinstance(s, ast.Name) and s.id in kept) for s in sides):
                    yield node.lineno
            case ast.MatchValue(value=value) if named(value):
                yield value.lineno
            case ast.Dict(keys=keys) if any(key is not None and named(key) for key in keys):
                yield node.lineno
            case ast.Subscript(slice=key, value=ast.Name(id=of)) if named(key):
                if of != "Literal":
                    yield node.lineno


def test_no_source_compares_an_engines_name() -> None:
    found = [
        f"{file}:{line}"
        for file in [*sorted(SOURCE.rglob("*.py")), *sorted(TOOLS.rglob("*.py"))]
        if file not in {SOURCE / table for table in TABLES}
        for line in asked_by_name(ast.parse(file.read_text("utf-8")))
    ]
    assert found == [], "ask protocol/engines.py, or fit's arithmetic of the engine"


@pytest.mark.parametrize(
    "text",
    [
        "if engine == 'native': pass",
        "if 'vllm' != request.engine: pass",
        "if engine in ('transformers', 'none'): pass",
        "BY_LAYERS = frozenset({'transformers', 'llamacpp'})\nif engine in BY_LAYERS: pass",
        "match engine:\n  case 'native': pass",
        "BLOCK: dict[str, int] = {'native': 16}",
        "TABLE['vllm']",
    ],
)
def test_a_comparison_is_found_however_it_is_written(text: str) -> None:
    assert list(asked_by_name(ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    [
        "Kind = Literal['native', 'transformers']",
        "run_rank('native', load)",
        "if find_spec('transformers') is None: pass",
        "if engine in ENGINES: pass",
    ],
)
def test_a_name_that_decides_nothing_is_none(text: str) -> None:
    assert not list(asked_by_name(ast.parse(text)))


def test_every_engine_that_can_be_started_is_counted_and_splits_as_its_traits_say() -> None:
    assert set(ENGINES) == set(get_args(EngineKind)) <= set(COUNTED)
    for kind, traits in ENGINES.items():
        assert (arithmetic(kind).splits == "layers") == (traits.parallel == "layers"), kind
        assert bool(arithmetic(kind).quantises) == traits.quantises, kind


def test_the_engine_for_a_purpose_is_one_whose_traits_say_so() -> None:
    assert ENGINES[DESCRIBED].by_description
    assert not ENGINES[LIBRARY].by_description
    assert ENGINES[GENERATING].generates
    assert ENGINES[QUANTISING].quantises


def test_what_no_engine_of_berth_is_shares_nothing() -> None:
    assert [parallel_of(e) for e in ("native", "transformers", "none", "")] == [
        "ranks",
        "layers",
        "",
        "",
    ]
