"""With keys nothing opens without one; without keys strangers stay outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from app_client import AppClient
from fake_service import FakeService
from starlette.routing import Route

from berth.server.auth import OPEN_PATHS, bind_host
from berth.server.own_keys import parse_api_keys
from berth.server.settings import ServerSettings

KEY, OTHER = "sesame-1", "sesame-2"


@pytest.fixture
def locked(service: FakeService) -> Iterator[AppClient]:
    with AppClient(service, ServerSettings(api_keys=(KEY, OTHER))) as client:
        yield client


def test_every_route_but_the_health_ones_needs_a_key(locked: AppClient) -> None:
    walked = set()
    for route in locked.app.routes:
        assert isinstance(route, Route), "a mounted or included app would hide its routes here"
        for method in route.methods or ():
            path = route.path.replace("{model_id:path}", "pocket")
            reply = locked.call(method, path, b"")
            walked.add(route.path)
            if route.path in OPEN_PATHS:
                assert reply.status == 200, route.path
            else:
                assert reply.status == 401, route.path
                assert reply.headers["www-authenticate"] == "Bearer"
    assert walked > OPEN_PATHS
    assert {"/docs", "/redoc", "/openapi.json", "/metrics", "/shutdown", "/generate", "/chat",
            "/v1/models", "/v1/chat/completions", "/v1/completions"} < walked  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1/nothing", "/livez/x", "/docs/x", "/docs/../metrics", "//metrics"]
)
def test_unknown_paths_need_a_key_too(locked: AppClient, path: str) -> None:
    assert locked.get(path).status == 401


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
def test_health_routes_are_open_for_reading_only(locked: AppClient, path: str) -> None:
    assert locked.call("POST", path, b"").status == 401


@pytest.mark.parametrize("key", [KEY, OTHER])
@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("authorization", "Bearer {}"),
        ("authorization", "bearer  {}"),
        ("authorization", "{}"),
        ("x-api-key", "{}"),
        ("api-key", "{}"),
    ],
)
def test_each_key_opens_in_each_header(locked: AppClient, header: str, form: str, key: str) -> None:
    assert locked.get("/v1/models", {header: form.format(key)}).status == 200


@pytest.mark.parametrize("wrong", ["", "sesame", "SESAME-1", "sesame-1x", "constructor", "é", " "])
def test_no_other_key_opens_or_is_repeated(locked: AppClient, wrong: str) -> None:
    reply = locked.get("/v1/models", {"authorization": f"Bearer {wrong}"})
    assert reply.status == 401
    assert reply.json()["error"]["code"] == "invalid_api_key"
    assert len(wrong) < 2 or wrong not in reply.body.decode()


def test_401_has_the_shape_of_the_paths_dialect(locked: AppClient) -> None:
    assert set(locked.post("/v1/completions", {}).json()) == {"error"}
    assert set(locked.post("/generate", {}).json()) == {"detail"}


def test_without_keys_any_bearer_is_fine(client: AppClient) -> None:
    assert client.get("/v1/models", {"authorization": "Bearer anything"}).status == 200


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.7"])
@pytest.mark.parametrize("forwarded", [False, True])
def test_shutdown_of_an_open_server_needs_its_owners_word_wherever_it_comes_from(
    service: FakeService, peer: str, forwarded: bool
) -> None:
    """A proxy on this machine shares its address, and need not say for whom it asks."""
    headers = {"x-forwarded-for": "10.0.0.7"} if forwarded else {}
    with AppClient(service, peer=(peer, 1)) as client:
        reply = client.post("/shutdown", b"", headers)
        assert reply.status == 403
        assert "--allow-shutdown" in reply.json()["detail"]
        assert "BERTH_API_KEY" in reply.json()["detail"]
        assert not client.lifecycle.draining
    with AppClient(service, ServerSettings(allow_shutdown=True), peer=(peer, 1)) as client:
        assert client.post("/shutdown", b"", headers).json() == {}
        assert client.lifecycle.draining


def test_shutdown_with_a_key_needs_nothing_else(locked: AppClient) -> None:
    locked.peer = ("10.0.0.7", 1)
    assert locked.post("/shutdown", b"").status == 401
    assert not locked.lifecycle.draining
    assert locked.post("/shutdown", b"", {"x-api-key": KEY}).json() == {}
    assert locked.lifecycle.draining


def test_allowing_shutdown_spares_nobody_the_key(service: FakeService) -> None:
    with AppClient(service, ServerSettings(api_keys=(KEY,), allow_shutdown=True)) as client:
        assert client.post("/shutdown", b"").status == 401
        assert not client.lifecycle.draining


@pytest.mark.parametrize(
    ("text", "keys"),
    [(None, ()), ("", ()), (" , ", ()), ("a", ("a",)), ("a, b,", ("a", "b"))],
)
def test_keys_are_separated_by_commas(text: str | None, keys: tuple[str, ...]) -> None:
    assert parse_api_keys(text) == keys


@pytest.mark.parametrize("text", ["good,se same", "schlüssel", "YOUR-API-KEY-HERE", "a\tb"])
def test_unusable_keys_are_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="BERTH_API_KEY") as caught:
        parse_api_keys(text)
    assert text.split(",")[-1] not in str(caught.value)


def test_settings_never_show_their_keys() -> None:
    assert KEY not in repr(ServerSettings(api_keys=(KEY,)))


@pytest.mark.parametrize(
    ("named", "keys", "host"),
    [
        (None, False, "127.0.0.1"),
        (None, True, "0.0.0.0"),
        ("10.1.2.3", False, "10.1.2.3"),
        ("127.0.0.1", True, "127.0.0.1"),
    ],
)
def test_without_keys_a_server_listens_on_loopback_unless_told(
    named: str | None, keys: bool, host: str
) -> None:
    assert bind_host(named, keys) == host
