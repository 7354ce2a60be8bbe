"""A server's settings are right or refused, by name."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from berth.server.settings import ServerSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65536),
        ("port", -1),
        ("grace_seconds", -0.1),
        ("grace_seconds", float("nan")),
        ("request_timeout_seconds", 0),
        ("body_timeout_seconds", 0),
        ("max_body_bytes", 0),
        ("max_prompts_per_call", 0),
        ("max_choices", 0),
        ("log_format", "xml"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        ServerSettings(**{name: value})


def test_settings_do_not_change_while_a_server_runs() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ServerSettings().port = 80  # type: ignore[misc]
