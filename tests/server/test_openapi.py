"""The OpenAPI page describes what is really parsed and rendered."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from app_client import AppClient
from fake_service import FakeService
from jsonschema import Draft202012Validator

from berth.server.schema import Limits, bound, resolved
from berth.server.settings import ServerSettings
from tools.openapi_page import openapi_page


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


def test_every_schema_is_one_and_holds_no_mark_of_ours() -> None:
    page = openapi_page()
    for schema in page["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    assert '"x-' not in json.dumps(page)
    assert page["openapi"] == "3.1.0"
    ids = [op["operationId"] for item in page["paths"].values() for op in item.values()]
    assert len(set(ids)) == len(ids) > 15


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


def test_the_copy_in_the_repository_is_the_page() -> None:
    copy = Path(__file__).parents[2] / "api" / "openapi.json"
    assert json.loads(copy.read_text()) == openapi_page(), "run `make docs`"


def test_the_page_and_the_docs_are_served(client: AppClient, service: FakeService) -> None:
    service.max_model_len = 0  # the engine has not told yet
    served = client.get("/openapi.json").json()
    assert {**served, "info": None} == {**openapi_page(), "info": None}
    assert client.get("/docs").status == 200
    assert client.get("/redoc").status == 200


def test_a_served_page_states_what_its_own_model_and_settings_allow() -> None:
    settings = ServerSettings(max_choices=4, max_prompts_per_call=9)
    with AppClient(FakeService(), settings, aliases=("gpt",)) as client:
        schemas = client.get("/openapi.json").json()["components"]["schemas"]
    fields = schemas["CompletionRequest"]["properties"]
    assert fields["n"]["anyOf"][0]["maximum"] == 4
    assert fields["max_tokens"]["anyOf"][0]["maximum"] == 4095
    assert fields["stop_token_ids"]["anyOf"][0]["items"]["maximum"] == 511
    assert fields["model"]["enum"] == ["pocket", "gpt", "", None]
    assert fields["prompt"]["anyOf"][1]["maxItems"] == 9
    role = schemas["ChatMessage"]["properties"]["role"]
    assert set(role["enum"]) == {"system", "developer", "user", "assistant"}
    keys = re.compile(fields["logit_bias"]["anyOf"][0]["propertyNames"]["pattern"])
    tokens = {number for number in range(2000) if keys.fullmatch(str(number))}
    assert tokens == set(range(512))
    assert not any(keys.fullmatch(key) for key in ("", "-1", "01", "1.0", "x"))


def test_what_only_generate_does_is_stated_as_left_out_where_there_is_none() -> None:
    service = FakeService()
    fields = {}
    for there in (True, False):
        service.generates = there
        with AppClient(service) as client:
            schemas = client.get("/openapi.json").json()["components"]["schemas"]
        fields[there] = schemas["FalconRequest"]["properties"]
    stated = {name for name, field in fields[False].items() if field != fields[True][name]}
    assert stated == {
        "num_beams", "num_beam_groups", "typical_p", "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size", "bad_words_ids", "forced_bos_token_id",
        "forced_eos_token_id", "remove_invalid_values",
    }  # fmt: skip
    assert fields[False]["num_beams"]["enum"] == [1, None]
    assert fields[False]["forced_eos_token_id"]["enum"] == [None]


def test_a_page_behind_keys_tells_nothing_of_the_model() -> None:
    with AppClient(FakeService(), ServerSettings(api_keys=("k",))) as client:
        served = client.get("/openapi.json").json()
    assert {**served, "info": None} == {**openapi_page(), "info": None}


@pytest.mark.parametrize("vocabulary", [1, 9, 10, 11, 100, 128, 1000, 5309])
def test_token_ids_as_keys_are_a_pattern(vocabulary: int) -> None:
    limits = Limits(choices=1, prompts=1, vocabulary=vocabulary)
    pattern = re.compile(resolved(bound("token_keys"), limits)["propertyNames"]["pattern"])
    assert {n for n in range(6000) if pattern.fullmatch(str(n))} == set(range(vocabulary))


def test_the_ranges_that_are_checked_stand_in_the_schema() -> None:
    schemas = openapi_page()["components"]["schemas"]
    fields = schemas["ChatCompletionRequest"]["properties"]
    assert fields["temperature"]["anyOf"][0] == {"type": "number", "minimum": 0, "maximum": 2}
    assert fields["top_p"]["anyOf"][0] == {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    assert fields["n"]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 128}
    assert fields["guided_json"]["enum"] == [None, "", [], {}]
    assert fields["use_beam_search"]["enum"] == [None, "", [], {}, False]
    kaito = schemas["Parameters"]["properties"]
    assert kaito["max_gen_len"]["anyOf"][0]["minimum"] == 1
    assert kaito["temperature"]["anyOf"][0]["maximum"] > 1e300  # KAITO's has no upper end


def test_streams_are_declared_with_the_shape_of_their_events() -> None:
    page = openapi_page()
    shapes = {}
    for path, item in page["paths"].items():
        content = item.get("post", {}).get("responses", {}).get("200", {}).get("content", {})
        if "text/event-stream" in content:
            parsed, mark = content["text/event-stream"]["schema"]["properties"]["data"]["anyOf"]
            assert mark == {"const": "[DONE]"}
            ways = parsed["contentSchema"]["anyOf"]
            shapes[path] = [way["$ref"].rpartition("/")[2] for way in ways]
    assert shapes == {
        "/generate": ["GenerateEvent", "Detail"],
        "/chat": ["ChatEvent", "Detail", "GenerateEvent"],
        "/v1/chat/completions": ["ChatCompletionChunk", "ErrorEnvelope"],
        "/v1/completions": ["CompletionChunk", "ErrorEnvelope"],
    }


def test_an_answer_that_is_not_documented_is_noticed(client: AppClient) -> None:
    """Of the helper that holds every answer of these tests to the document."""
    good = ("POST", "/chat", 200, "application/json", b'{"results": []}')
    client.document.check(*good)
    for bad in (
        (*good[:2], 402, *good[3:]),
        (*good[:3], "text/plain", good[4]),
        (*good[:4], b'{"results": 1}'),
        (*good[:3], "text/event-stream", b'data: {"index": "0"}\n\n'),
    ):
        with pytest.raises(AssertionError):
            client.document.check(*bad)


def test_the_module_prints_the_page_and_needs_no_torch() -> None:
    code = (
        "import sys, tools.openapi_page as page; page.main(); import berth.server.run; "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout) == openapi_page()
