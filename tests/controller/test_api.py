"""The client: what is sent, and what every answer of an API server becomes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from berth.cluster.api_server import connect
from berth.controller.api import KubeApi
from berth.controller.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    FieldConflict,
    Forbidden,
    Gone,
    Invalid,
    NamespaceGoing,
    NotFound,
    NotYetAuthorized,
    Timeout,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from berth.controller.kinds import (
    CONFIG_MAP,
    LEASE,
    NODE_CLAIM,
    POD,
    SECRET,
    SERVICE,
    WORKSPACE,
)


class Answering:
    """An HTTP server that keeps requests and gives the answers of a test, one after another."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answers: list[tuple[int, Any, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                split = urlsplit(self.path)
                outer.requests.append(
                    {
                        "method": self.command,
                        "path": split.path,
                        "query": {k: v[0] for k, v in parse_qs(split.query).items()},
                        "headers": {name.lower(): value for name, value in self.headers.items()},
                        "body": json.loads(self.rfile.read(length)) if length else None,
                    }
                )
                status, body, headers = outer.answers.pop(0)
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing on standard error."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def give(self, status: int, body: Any = None, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append((status, {} if body is None else body, named))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Answering]:
    running = Answering()
    yield running
    running.close()


@pytest.fixture
def api(server: Answering, tmp_path: Path) -> KubeApi:
    named = {"name": "x"}
    path = tmp_path / "config"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "x",
                "clusters": [{**named, "cluster": {"server": server.url}}],
                "contexts": [{**named, "context": {"cluster": "x", "user": "x"}}],
                "users": [{**named, "user": {"token": "secret-token"}}],
            }
        )
    )
    return KubeApi(connect(path).api_client)


SERVICE_OBJECT = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"namespace": "models", "name": "llama"},
}


def test_apply_is_server_side_under_one_owner_and_without_force(
    server: Answering, api: KubeApi
) -> None:
    server.give(200, SERVICE_OBJECT)
    assert asyncio.run(api.apply(SERVICE, SERVICE_OBJECT)) == SERVICE_OBJECT
    (sent,) = server.requests
    assert (sent["method"], sent["path"]) == ("PATCH", "/api/v1/namespaces/models/services/llama")
    assert sent["query"] == {"fieldManager": "berth", "force": "false"}
    assert sent["headers"]["content-type"] == "application/apply-patch+yaml"
    assert sent["headers"]["authorization"] == "Bearer secret-token"
    assert sent["body"] == SERVICE_OBJECT


def test_delete_has_the_uid_as_precondition(server: Answering, api: KubeApi) -> None:
    server.give(200, {"kind": "Status", "status": "Success"})
    assert asyncio.run(api.delete(SERVICE, "models", "llama", "u1")) is None
    assert server.requests[0]["body"]["preconditions"] == {"uid": "u1"}
    held = {"kind": "NodeClaim", "metadata": {"name": "c", "deletionTimestamp": "now"}}
    server.give(200, held)
    assert asyncio.run(api.delete(NODE_CLAIM, None, "c", "u2")) == held
    assert server.requests[1]["path"] == "/apis/karpenter.sh/v1/nodeclaims/c"


def test_status_goes_to_its_subresource(server: Answering, api: KubeApi) -> None:
    obj = {"metadata": {"namespace": "m", "name": "w", "resourceVersion": "7"}, "status": {}}
    server.give(200, obj)
    asyncio.run(api.replace_status(WORKSPACE, obj))
    (sent,) = server.requests
    assert sent["method"] == "PUT"
    assert sent["path"] == "/apis/kaito.sh/v1beta1/namespaces/m/workspaces/w/status"


def test_a_list_is_read_page_by_page_and_its_items_get_their_kind(
    server: Answering, api: KubeApi
) -> None:
    server.give(200, {"metadata": {"continue": "next"}, "items": [{"metadata": {"name": "a"}}]})
    server.give(200, {"metadata": {"resourceVersion": "42"}, "items": [{"metadata": {}}]})
    listing = asyncio.run(api.list(POD, labels={"a": "b"}))
    assert (len(listing.items), listing.resource_version) == (2, 42)
    assert listing.items[0]["kind"] == "Pod"
    assert server.requests[0]["query"] == {"labelSelector": "a=b", "limit": "500"}
    assert server.requests[1]["query"]["continue"] == "next"


def test_a_secret_is_looked_for_without_its_content(server: Answering, api: KubeApi) -> None:
    server.give(200, {"kind": "PartialObjectMetadata", "metadata": {"name": "keys"}})
    assert asyncio.run(api.exists(SECRET, "models", "keys")) is True
    server.give(404)
    assert asyncio.run(api.exists(SECRET, "models", "keys")) is False
    assert [sent["path"] for sent in server.requests] == [
        "/api/v1/namespaces/models/secrets/keys"
    ] * 2
    for sent in server.requests:
        assert sent["headers"]["accept"].startswith("application/json;as=PartialObjectMetadata;")


def test_whether_a_kind_is_served(server: Answering, api: KubeApi) -> None:
    server.give(404)
    assert asyncio.run(api.has(NODE_CLAIM)) is False
    server.give(200, {"resources": [{"name": "nodepools"}]})
    assert asyncio.run(api.has(NODE_CLAIM)) is False
    server.give(200, {"resources": [{"name": "nodeclaims"}]})
    assert asyncio.run(api.has(NODE_CLAIM)) is True


def test_warnings_are_selected_by_the_server(server: Answering, api: KubeApi) -> None:
    server.give(200, {"items": [], "metadata": {}})
    asyncio.run(api.warnings("models", "involvedObject.kind=NodeClaim"))
    fields = server.requests[0]["query"]["fieldSelector"]
    assert fields == "type=Warning,involvedObject.kind=NodeClaim"


def _status(reason: str, **details: Any) -> dict[str, Any]:
    return {"kind": "Status", "reason": reason, "message": "words", "details": details}


_TERMINATING = {"causes": [{"reason": "NamespaceTerminating"}]}
_OWNED = {"causes": [{"reason": "FieldManagerConflict", "field": ".spec", "message": "by helm"}]}


@pytest.mark.parametrize(
    ("code", "body", "error"),
    [
        (400, _status("BadRequest"), Invalid),
        (401, _status("Unauthorized"), Unauthorized),
        (403, _status("Forbidden"), Forbidden),
        (403, _status("Forbidden", **_TERMINATING), NamespaceGoing),
        (404, _status("NotFound"), NotFound),
        (409, _status("Conflict"), Conflict),
        (409, _status("Conflict", **_OWNED), FieldConflict),
        (409, _status("AlreadyExists"), AlreadyExists),
        (410, _status("Expired"), Gone),
        (422, _status("Invalid"), Invalid),
        (429, _status("TooManyRequests"), TooManyRequests),
        (500, b"a proxy's page", Unavailable),
        (503, b"", Unavailable),
        (504, _status("Timeout"), Timeout),
    ],
)
def test_each_answer_is_one_of_a_closed_set_of_errors(
    server: Answering, api: KubeApi, code: int, body: Any, error: type[ApiError]
) -> None:
    server.give(code, body)
    with pytest.raises(ApiError) as caught:
        asyncio.run(api.get(CONFIG_MAP, "models", "c"))
    assert type(caught.value) is error
    if isinstance(body, dict):
        assert str(caught.value) == "words"


def test_the_owner_of_a_field_is_named(server: Answering, api: KubeApi) -> None:
    server.give(409, _status("Conflict", **_OWNED))
    with pytest.raises(FieldConflict) as caught:
        asyncio.run(api.apply(SERVICE, SERVICE_OBJECT))
    assert caught.value.fields == ((".spec", "by helm"),)


def test_the_server_s_wait_is_read(server: Answering, api: KubeApi) -> None:
    server.give(429, _status("TooManyRequests"), Retry_After="9")
    with pytest.raises(TooManyRequests) as caught:
        asyncio.run(api.get(CONFIG_MAP, "models", "c"))
    assert caught.value.retry_after == 9


def test_no_server_at_all(api: KubeApi, server: Answering) -> None:
    server.close()
    with pytest.raises(Unavailable) as caught:
        asyncio.run(api.get(LEASE, "berth", "l"))
    assert "secret-token" not in str(caught.value)


def test_an_answer_that_does_not_come(
    server: Answering, api: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr("berth.controller.api._READ", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        api._configuration.host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Timeout, match="no answer in time"):
            asyncio.run(api.get(LEASE, "berth", "l"))


def test_requests_are_counted(server: Answering, api: KubeApi) -> None:
    counted: list[tuple[str, int]] = []
    api._counted = lambda method, status: counted.append((method, status))
    server.give(200)
    server.give(404)
    asyncio.run(api.get(CONFIG_MAP, "models", "c"))
    with pytest.raises(NotFound):
        asyncio.run(api.get(CONFIG_MAP, "models", "c"))
    assert counted == [("GET", 200), ("GET", 404)]


def test_a_write_s_403_after_a_503_is_one_that_passes_by_itself_and_success_is_told(
    server: Answering, api: KubeApi
) -> None:
    """faults K.2."""
    now, back = [100.0], []
    api._clock, api._back = lambda: now[0], lambda: back.append(now[0])
    server.give(503, _status("ServiceUnavailable"))
    denied = 'services "llama" is forbidden: User "system:serviceaccount:b:c" cannot patch resource'
    server.give(403, {**_status("Forbidden"), "message": denied})
    server.give(200, SERVICE_OBJECT)
    with pytest.raises(Unavailable):
        asyncio.run(api.get(LEASE, "berth", "l"))
    now[0] = 105.0
    with pytest.raises(NotYetAuthorized) as caught:
        asyncio.run(api.apply(SERVICE, SERVICE_OBJECT))
    assert (caught.value.again_within, back) == (1.5, [])
    now[0] = 106.0
    asyncio.run(api.apply(SERVICE, SERVICE_OBJECT))
    assert back == [106.0]
