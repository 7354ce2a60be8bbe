"""A label value that YAML reads as something else is named, with the cure."""

from __future__ import annotations

import pytest
import yaml

from berth.workspace.parse import WorkspaceError, parse_workspace
from workspace.worlds import workspace


@pytest.mark.parametrize(
    ("written", "shown"), [("true", "true"), ("no", "false"), ("12", "12"), ("1.5", "1.5")]
)
def test_a_label_without_quotes_is_named_with_its_cure(written: str, shown: str) -> None:
    labels = yaml.safe_load(f"gpu: {written}")
    found = workspace(labelSelector={"matchLabels": {"pool": "a", **labels}})
    with pytest.raises(WorkspaceError) as caught:
        parse_workspace(found)
    assert caught.value.field == "resource.labelSelector.matchLabels[gpu]"
    assert f'write "{shown}" in quotes' in str(caught.value)


def test_a_label_in_quotes_is_one() -> None:
    found = workspace(labelSelector={"matchLabels": {"gpu": "true"}})
    assert parse_workspace(found).resource.label_selector.labels == {"gpu": "true"}
