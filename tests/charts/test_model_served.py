"""charts/model: what its pod would run, run here, answers what its notes and probes ask."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

from charts.rendered import container, render
from e2e.berth_server import berth_serve, run_shell


def test_the_default_install_answers_its_notes_curl_its_probes_and_prometheus(
    tmp_path: Path,
) -> None:
    given = render("model", {"serviceMonitor": {"enabled": True}})
    of = container(given.one("StatefulSet")["spec"]["template"])
    arguments = [word for word in of["args"] if not word.startswith("--port=")]
    secret = {
        name: base64.b64decode(value).decode()
        for name, value in given.one("Secret")["data"].items()
    }
    reference = next(e for e in of["env"] if e["name"] == "BERTH_API_KEY")["valueFrom"]
    key = secret[reference["secretKeyRef"]["key"]]
    environment = {"BERTH_API_KEY": key, "HF_HOME": str(tmp_path)}
    with berth_serve(tmp_path, *arguments, environment=environment) as server:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert server.call(of[probe]["httpGet"]["path"])[0] == 200
        (curl,) = re.findall(r"^  (curl .*)$", given.notes, re.MULTILINE)
        said = run_shell(f"KEY={key}; {curl.replace('localhost:5000', f'127.0.0.1:{server.port}')}")
        assert "Paris" in json.loads(said)["choices"][0]["message"]["content"]
        (endpoint,) = given.one("ServiceMonitor")["spec"]["endpoints"]
        shown = secret[endpoint["authorization"]["credentials"]["key"]]
        bearer = {"Authorization": f"{endpoint['authorization']['type']} {shown}"}
        status, figures = server.call(endpoint["path"], headers=bearer)
        assert (status, "vllm:num_requests_waiting" in figures) == (200, True)
        assert server.call(endpoint["path"])[0] == 401
        assert key not in server.log
        assert server.stop() == 0
