"""docker-compose.yaml names only what exists, and its parts name each other rightly."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import yaml

from berth.cli.main import main
from e2e.berth_server import ROOT

FILES = [ROOT / "docker-compose.yaml", ROOT / "docker" / "compose.cuda.yaml"]
COMPOSE: dict[str, Any] = yaml.safe_load(FILES[0].read_text())
BERTH = COMPOSE["services"]["berth"]
DOCKERFILE = (ROOT / BERTH["build"]["dockerfile"]).read_text()
MONITORING = ROOT / "docker" / "monitoring"


def mounts(service: str) -> dict[str, str]:
    """What is mounted, by where."""
    pairs = [entry.split(":")[:2] for entry in COMPOSE["services"][service]["volumes"]]
    return {where: what for what, where in pairs}


def environment(name: str) -> str:
    """A value of the Dockerfile's ENV."""
    match = re.search(rf"\b{name}=(\S+)", DOCKERFILE)
    assert match is not None, name
    return match[1]


def test_they_are_what_compose_understands() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, *map(str, FILES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(yaml.safe_load(FILES[1].read_text())["services"]) <= set(COMPOSE["services"])


def test_every_path_and_volume_exists() -> None:
    for name, service in COMPOSE["services"].items():
        for what in mounts(name).values():
            if what.startswith("."):
                assert (ROOT / what).is_file(), what
            else:
                assert what in COMPOSE["volumes"], what
        if "build" in service:
            assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_build_arguments_are_ones_that_the_dockerfile_takes() -> None:
    declared = set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
    assert set(BERTH["build"]["args"]) <= declared


def test_every_variable_is_explained_at_the_top() -> None:
    text = FILES[0].read_text()
    used = set(re.findall(r"\$\{(\w+)", text)) - {"BERTH_IMAGE"}
    explained = set(re.findall(r"^# ([A-Z_]+) ", text, re.MULTILINE))
    assert used == explained


def test_what_berth_serve_is_told_it_understands() -> None:
    example = re.search(r'BERTH_MODEL="([^"]*)"', FILES[0].read_text())
    assert example is not None
    serve = main.get_command(click.Context(main), "serve")
    assert serve is not None
    context = serve.make_context("serve", example[1].split())
    assert context.params["max_model_len"] == 8192
    command = COMPOSE["services"]["berth"]["command"]
    without_a_model = re.sub(r"\$\{BERTH_MODEL:-(.*)\}", r"\1", command)
    assert without_a_model != command
    context = serve.make_context("serve", without_a_model.split())
    assert (context.params["models"], context.params["log_format"]) == ((), "json")
    assert context.params["port"] == 5000


def test_the_server_listens_where_the_port_leads_and_keeps_models_where_the_volume_is() -> None:
    assert BERTH["ports"] == ["${BERTH_PUBLISH:-127.0.0.1:5000}:5000"]
    assert environment("BERTH_PORT") == "5000"
    assert environment("HF_HOME").startswith("/cache/")
    assert mounts("berth") == {"/cache": "models"}
    assert BERTH["read_only"]
    assert "/tmp" in BERTH["tmpfs"]


def test_the_health_check_is_the_images_own() -> None:
    match = re.search(r"HEALTHCHECK .*?CMD (\[.*?\])", DOCKERFILE, re.DOTALL)
    assert match is not None
    assert BERTH["healthcheck"]["test"] == ["CMD", *json.loads(match[1])]


def test_it_is_given_longer_to_end_than_it_takes() -> None:
    serve = main.get_command(click.Context(main), "serve")
    assert serve is not None
    grace = next(p.default for p in serve.params if p.name == "grace")
    assert float(BERTH["stop_grace_period"].removesuffix("s")) > float(str(grace)) + 5


def test_prometheus_scrapes_the_server() -> None:
    config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
    (job,) = config["scrape_configs"]
    (group,) = job["static_configs"]
    (target,) = group["targets"]
    service, _, port = target.partition(":")
    assert service in COMPOSE["services"]
    assert port == environment("BERTH_PORT")
    assert f'"{job["metrics_path"]}"' in (ROOT / "src/berth/server/health.py").read_text()
    inside = "/etc/prometheus/prometheus.yaml"
    assert mounts("prometheus")[inside] == "./docker/monitoring/prometheus.yaml"
    assert f"--config.file={inside}" in COMPOSE["services"]["prometheus"]["command"]


def test_grafana_finds_prometheus_and_the_charts_dashboard() -> None:
    (source,) = yaml.safe_load((MONITORING / "grafana-datasource.yaml").read_text())["datasources"]
    ports = COMPOSE["services"]["prometheus"]["ports"]
    assert source["url"] == f"http://prometheus:{ports[0].rpartition(':')[2]}"
    (provider,) = yaml.safe_load((MONITORING / "grafana-dashboards.yaml").read_text())["providers"]
    folder = Path(provider["options"]["path"])
    shown = {Path(where): what for where, what in mounts("grafana").items()}
    boards = {where: what for where, what in shown.items() if where.parent == folder}
    (board,) = boards.values()
    assert json.loads((ROOT / board).read_text())["panels"]
    home = COMPOSE["services"]["grafana"]["environment"][
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"
    ]
    assert Path(home) in boards


def test_nothing_but_loopback_is_opened_unasked() -> None:
    for service in COMPOSE["services"].values():
        for port in service["ports"]:
            assert port.startswith(("127.0.0.1:", "${BERTH_PUBLISH:-127.0.0.1:"))
