"""charts/model: the dashboard of its models, which Grafana's sidecar finds."""

from __future__ import annotations

import json
from typing import Any

from charts.rendered import render


def config_map(**values: Any) -> Any:
    return render("model", {"dashboard": {"enabled": True}, **values}).one("ConfigMap")


def board(**values: Any) -> Any:
    (text,) = config_map(**values)["data"].values()
    return json.loads(text)


def test_it_is_off_unless_it_is_asked_for() -> None:
    assert not [one for one in render("model", {}).objects if one["kind"] == "ConfigMap"]


def test_grafanas_sidecar_finds_it_by_its_label() -> None:
    labels = config_map()["metadata"]["labels"]
    assert labels["grafana_dashboard"] == "1"
    other = config_map(dashboard={"enabled": True, "labels": {"team": "ai"}})["metadata"]["labels"]
    assert (other["team"], other["grafana_dashboard"]) == ("ai", "1")


def test_it_has_the_panels_of_models_and_none_of_the_controllers() -> None:
    (text,) = render("berth", {"dashboard": {"enabled": True}}).one("ConfigMap")["data"].values()
    whole = {panel["title"]: panel.get("targets") for panel in json.loads(text)["panels"]}
    ours = {panel["title"]: panel.get("targets") for panel in board()["panels"]}
    assert len(ours) == 12
    assert ours.items() <= whole.items()
    asked = json.dumps(list(ours.values()))
    assert "vllm:time_to_first_token_seconds_bucket" in asked
    assert "berth_workspaces" not in asked
    assert "workqueue" not in asked


def test_two_releases_do_not_share_a_dashboards_identity() -> None:
    one, other = board(), board(fullnameOverride="other")
    assert one["uid"] != other["uid"]
    assert one["title"] != other["title"]
    assert len(one["uid"]) <= 40  # Grafana's limit
    assert "@" not in one["uid"] + one["title"]
