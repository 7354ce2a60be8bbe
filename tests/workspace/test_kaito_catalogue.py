"""Which of KAITO's curated models Berth serves: docs/from-kaito.md says it, from the catalogue."""

from __future__ import annotations

from pathlib import Path

from berth.presets.catalogue import load_presets
from berth.workspace.observed import Observed, Settings
from berth.workspace.reasons import Reason
from berth.workspace.spec import Refusal, Spec, read_spec
from tools.kaito_page import curated, page, sorted_out
from workspace.worlds import workspace

PAGE = Path(__file__).parents[2] / "docs/from-kaito.md"


def _read(name: str) -> Spec | Refusal:
    return read_spec(
        Observed(
            workspace=workspace(name),
            settings=Settings(),
            presets=load_presets(),
            nodes=(),
            pods=(),
            children=(),
        )
    )


def test_the_page_is_up_to_date() -> None:
    written = PAGE.read_text("utf-8")
    assert written == page(written, load_presets()), "make docs"
    assert "<!-- made: catalogue -->" in written


def test_they_are_sixty_each_in_one_row() -> None:
    served, known, lacking = sorted_out(load_presets())
    assert len(curated()) == len(set(curated())) == 60
    assert sorted(served + known + lacking) == sorted(curated())


def test_a_workspace_gets_what_its_row_says() -> None:
    served, known, lacking = sorted_out(load_presets())
    assert [name for name in served if not isinstance(_read(name), Spec)] == []
    for names, reasons in (
        (known, {Reason.NoEngine, Reason.SizeUnknown}),
        (lacking, {Reason.UnknownPreset}),
    ):
        for name in names:
            refused = _read(name)
            assert isinstance(refused, Refusal)
            assert refused.reason in reasons
