"""What HTTP asks of every route: HEAD, OPTIONS, Host, slashes; and the routes gateways ask for."""

from __future__ import annotations

import pytest
from app_client import AppClient
from fake_service import LOADING, FakeService
from live_server import LiveServer
from raw_http import answers, connect
from starlette.routing import Route

from berth.server.metrics import package_version
from berth.server.settings import ServerSettings

POSTS = ("/generate", "/chat", "/v1/chat/completions", "/v1/completions", "/shutdown")


def gets(client: AppClient) -> list[str]:
    routes = [route for route in client.app.routes if isinstance(route, Route)]
    paths = [route.path for route in routes if "GET" in (route.methods or ())]
    assert len(paths) > 12
    return [path.replace("{model_id:path}", "fake") for path in paths]


def test_head_is_answered_wherever_get_is_with_the_same_headers(client: AppClient) -> None:
    for path in [*gets(client), "/nothing", "/v1/models/nothing"]:
        get, head = client.get(path), client.call("HEAD", path, b"")
        assert head.status == get.status, path
        assert head.body == b""
        assert head.headers["content-length"] == get.headers["content-length"] or path == "/metrics"
        assert head.headers["content-type"] == get.headers["content-type"]


def test_head_is_logged_and_counted_as_head(client: AppClient) -> None:
    client.call("HEAD", "/v1/models", b"")
    assert 'method="HEAD"' in client.get("/metrics").body.decode()


def test_head_has_no_body_on_the_wire_and_keeps_the_connection(live: LiveServer) -> None:
    with connect(live.port) as connection:
        head = b"HEAD /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n"
        connection.sendall(head * 2 + head.replace(b"HEAD", b"GET"))
        first, second, get = answers(connection, ["HEAD", "HEAD", "GET"])
    assert first.status == second.status == get.status == 200
    assert int(first.headers["content-length"]) == len(get.body)


@pytest.mark.parametrize("keys", [(), ("k",)])
def test_options_says_what_a_route_takes(service: FakeService, keys: tuple[str, ...]) -> None:
    with AppClient(service, ServerSettings(api_keys=keys)) as client:
        for path in (*POSTS, *gets(client)):
            reply = client.call("OPTIONS", path, b"")
            assert (reply.status, reply.body) == (204, b""), path
            taken = "POST, OPTIONS" if path in POSTS else "GET, HEAD, OPTIONS"
            assert reply.headers["allow"] == taken
        assert client.call("OPTIONS", "/nothing", b"").status == 404
    assert service.generations == []


def test_options_of_the_server_as_a_whole(live: LiveServer) -> None:
    with connect(live.port) as connection:
        connection.sendall(b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n")
        (answer,) = answers(connection, ["OPTIONS"])
    assert answer.status == 204
    assert "OPTIONS" in answer.headers["allow"]


@pytest.mark.parametrize("path", POSTS)
def test_head_of_a_route_that_only_takes_posts_says_so(client: AppClient, path: str) -> None:
    reply = client.call("HEAD", path, b"")
    assert (reply.status, reply.body) == (405, b"")
    assert reply.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/health", "/ping"])
def test_gateways_made_for_vllm_find_the_model_up_or_not(service: FakeService, path: str) -> None:
    with AppClient(service, ServerSettings(api_keys=("k",))) as client:
        assert client.get(path).status == 200
        service.state = LOADING
        reply = client.get(path)
        assert reply.status == 503
        assert reply.headers["retry-after"] == "1"
        assert reply.json()["progress"] == 0.25
        client.lifecycle.begin_drain()
        assert client.get(path).json()["status"] == "draining"


def test_version_is_the_packages(client: AppClient) -> None:
    assert client.get("/version").json() == {"version": package_version()}


@pytest.mark.parametrize(
    "path",
    [
        "//v1/models",
        "/v1//models",
        "/v1/models/",
        "///v1///models//",
        "//v1/models//",
        "/v1/models",
    ],
)
def test_a_slash_too_many_loses_no_request(live: LiveServer, path: str) -> None:
    with connect(live.port) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        (answer,) = answers(connection, ["GET"])
    assert answer.status == 200
    assert answer.json()["object"] == "list"


def test_a_slash_too_many_opens_nothing(service: FakeService) -> None:
    with AppClient(service, ServerSettings(api_keys=("k",))) as client:
        assert client.get("//livez").status == 200
        assert client.get("//v1/models").status == 401
        assert client.post("//shutdown", b"").status == 401


@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [
        ("1.1", [], 400),
        ("1.1", ["localhost", "localhost"], 400),
        ("1.1", ["a b"], 400),
        ("1.1", ["localhost:port"], 400),
        ("1.1", ["user@localhost"], 400),
        ("1.1", ["localhost/x"], 400),
        ("1.1", [""], 200),
        ("1.1", ["localhost:5000"], 200),
        ("1.0", [], 200),
    ],
)
@pytest.mark.parametrize("path", ["/livez", "/v1/models", "/nothing"])
def test_http_1_1_names_one_host(
    live: LiveServer, version: str, hosts: list[str], status: int, path: str
) -> None:
    head = f"GET {path} HTTP/{version}\r\n" + "".join(f"Host: {host}\r\n" for host in hosts)
    with connect(live.port) as connection:
        connection.sendall(f"{head}\r\n".encode())
        (answer,) = answers(connection, ["GET"])
    assert answer.status == (404 if (path, status) == ("/nothing", 200) else status)
    if status == 400:
        assert "Host header" in answer.body.decode()


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/models", "/v1/models"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/generate", "/generate"),
    ],
)
def test_a_base_url_without_v1_or_with_two_is_told_the_route(
    client: AppClient, path: str, meant: str
) -> None:
    reply = client.post(path, {})
    assert reply.status == 404
    assert f"Did you mean {meant}?" in reply.body.decode()


def test_an_unknown_path_is_not_repeated(client: AppClient) -> None:
    reply = client.get("/secret-prompt")
    assert reply.json() == {"detail": "There is no such route. /docs lists them all."}
