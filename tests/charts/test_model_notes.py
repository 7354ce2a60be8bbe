"""charts/model: what Helm tells after an install."""

from __future__ import annotations

import re
import shlex
from typing import Any

from charts.rendered import render


def notes(**values: Any) -> str:
    return render("model", values).notes


def test_the_curl_call_is_one_that_can_be_copied() -> None:
    (line,) = re.findall(r"^  (curl .*)$", notes(), re.MULTILINE)
    words = shlex.split(line)
    assert "http://localhost:5000/v1/chat/completions" in words
    assert "Authorization: Bearer $KEY" in words
    assert '"model": "pocket"' in line


def test_it_says_where_the_key_is_and_how_to_reach_the_model() -> None:
    said = notes(keys={"existingSecret": "mine"}, service={"port": 8080})
    assert "kubectl get secret mine --namespace ai" in said
    assert "kubectl port-forward service/pocket 5000:8080" in said


def test_without_keys_it_says_so() -> None:
    said = notes(keys={"enabled": False})
    assert "Authorization" not in said
    assert "No key is asked for" in said


def test_with_an_ingress_the_call_goes_there() -> None:
    ingress = {"enabled": True, "host": "llama.example.org", "tlsSecret": "tls"}
    said = notes(ingress=ingress)
    assert "https://llama.example.org/v1/chat/completions" in said
    assert "port-forward" not in said


def test_it_warns_when_the_network_policy_would_keep_out_who_was_asked_in() -> None:
    ingress = {"enabled": True, "host": "llama.example.org"}
    for outside in (
        {"ingress": ingress},
        {"serviceMonitor": {"enabled": True}},
        {"service": {"type": "LoadBalancer"}},
    ):
        assert "in networkPolicy.from" in notes(**outside)
    peers: Any = {"from": [{"namespaceSelector": {}}]}
    assert "networkPolicy.from" not in notes(ingress=ingress, networkPolicy=peers)
    assert "networkPolicy.from" not in notes()
