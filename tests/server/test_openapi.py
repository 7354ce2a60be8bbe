"""The OpenAPI page describes what is really parsed and rendered."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from app_client import AppClient

from berth.server.openapi import openapi_page


def _refs(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(_refs(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(_refs(value) for value in node))
    return set()


def test_every_reference_leads_somewhere() -> None:
    page = openapi_page()
    names = {ref.removeprefix("#/components/schemas/") for ref in _refs(page)}
    assert names == set(page["components"]["schemas"])


def test_every_post_route_describes_its_body_and_errors() -> None:
    page = openapi_page()
    posts = {path: item["post"] for path, item in page["paths"].items() if "post" in item}
    assert set(posts) == {"/generate", "/chat", "/shutdown", "/v1/chat/completions",
                          "/v1/completions"}  # fmt: skip
    del posts["/shutdown"]
    for operation in posts.values():
        media = operation["requestBody"]["content"]["application/json"]
        assert media["example"]
        assert "text/event-stream" in operation["responses"]["200"]["content"]
        assert {"400", "401", "408", "413", "429", "500", "503"} < set(operation["responses"])


def test_the_examples_of_the_page_are_answered(client: AppClient) -> None:
    for path, item in openapi_page()["paths"].items():
        if "requestBody" in item.get("post", {}):
            media = item["post"]["requestBody"]["content"]["application/json"]
            assert client.post(path, media["example"]).status == 200


def test_the_page_and_the_docs_are_served(client: AppClient) -> None:
    served = client.get("/openapi.json").json()
    assert {**served, "info": None} == {**openapi_page(), "info": None}
    assert client.get("/docs").status == 200
    assert client.get("/redoc").status == 200


def test_the_module_prints_the_page_and_needs_no_torch() -> None:
    code = (
        "import sys, berth.server.openapi as page; page.main(); import berth.server.run; "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout) == openapi_page()
