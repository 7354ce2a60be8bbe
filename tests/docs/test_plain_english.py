"""Pages, charts and sentences name what acts: a component, never "nobody" or "whoever".

Only words without a good use in these texts are refused; docs/develop.md has the rules of style.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.pages import PAGES
from e2e.berth_server import ROOT

_REFUSED = re.compile(
    r"\b(nobody|no one|somebody|someone|anybody|anyone|everybody|everyone|whoever|whom|him|his|"
    r"lest|for want of|to be had|naught)\b",
    re.IGNORECASE,
)
_SOURCES = sorted((ROOT / "src/berth").rglob("*.py"))
_TEXTS = [
    *PAGES,
    *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *(path for path in sorted((ROOT / "charts").rglob("*")) if path.is_file()),
    *sorted((ROOT / "presets").rglob("*.yaml")),
    ROOT / "api/openapi.json",
    ROOT / "api/kaito.sh_workspaces.yaml",
]


def _refused(text: str) -> list[str]:
    return _REFUSED.findall(" ".join(text.split()))


def _strings(path: Path) -> Iterator[str]:
    """Texts that a program can show: no docstrings, but for commands, whose help they are."""
    source = path.read_text()
    if not _refused(source):
        return
    tree = ast.parse(source)
    hidden = set()
    if "cli" not in path.parts:
        hidden = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in hidden
        ):
            yield node.value


@pytest.mark.parametrize("path", _TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_text_for_users_names_what_acts(path: Path) -> None:
    assert _refused(path.read_text()) == []


def test_a_sentence_that_berth_says_names_what_acts() -> None:
    found = [(str(path.relative_to(ROOT)), text) for path in _SOURCES for text in _strings(path)]
    assert [(path, text) for path, text in found if _refused(text)] == []


@pytest.mark.parametrize("sentence", ["Nobody tells it.", "It ended for want of\nmemory."])
def test_the_refused_words_are_found(sentence: str) -> None:
    assert _refused(sentence)
