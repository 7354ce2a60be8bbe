"""Pages of other sites and strange names stay outside an open server, until its owner says else."""

from __future__ import annotations

from typing import Any

import pytest
from app_client import AppClient, Reply
from fake_service import FakeService

from berth.server.settings import ServerSettings

ASK = {"prompts": ["x"]}
EVIL = "https://evil.example"


def ask(
    service: FakeService,
    origin: str | None = None,
    host: str = "localhost:5000",
    *,
    more: dict[str, str] | None = None,
    peer: str = "127.0.0.1",
    method: str = "POST",
    path: str = "/generate",
    **settings: Any,
) -> Reply:
    headers = {"host": host} | ({} if origin is None else {"origin": origin}) | (more or {})
    with AppClient(service, ServerSettings(**settings), peer=(peer, 1)) as client:
        if method == "POST":
            return client.post(path, ASK, headers)
        return client.call(method, path, b"", headers)


SAME = [
    ("http://localhost:5000", "localhost:5000"),
    ("http://localhost:5000", "127.0.0.1:5000"),
    ("http://127.0.0.1:5000", "localhost:5000"),
    ("http://127.0.0.1:5000", "127.1.2.3:5000"),
    ("http://[::1]:5000", "localhost:5000"),
    ("http://localhost:5000", "[::1]:5000"),
    ("http://localhost:5000", "[::ffff:127.0.0.1]:5000"),
    ("http://LOCALHOST:5000", "LocalHost.:5000"),
    ("http://pocket.localhost:5000", "pocket.localhost:5000"),
    ("http://box:5000", "box:5000"),
    ("http://192.168.1.5:5000", "192.168.1.5:5000"),
    ("http://localhost", "localhost:80"),
    ("https://localhost", "localhost:443"),
    # A proxy left the port out: nginx's `proxy_set_header Host $host`.
    ("http://localhost:8080", "localhost"),
    ("https://box", "box"),
]


@pytest.mark.parametrize(("origin", "host"), SAME)
def test_a_servers_own_page_may_call_it_by_each_of_its_names(
    service: FakeService, origin: str, host: str
) -> None:
    assert ask(service, origin, host).status == 200


FOREIGN = [
    (EVIL, "localhost:5000"),
    ("http://localhost:3000", "localhost:5000"),
    ("http://localhost", "localhost:5000"),
    ("http://localhost.evil.example:5000", "localhost:5000"),
    ("http://127.0.0.1.evil.example:5000", "127.0.0.1:5000"),
    ("http://notlocalhost:5000", "localhost:5000"),
    ("http://192.168.1.6:5000", "192.168.1.5:5000"),
    ("http://evil.example", "localhost"),
    ("http://localhost:99999", "localhost:5000"),
    ("http://user@localhost:5000", "box:5000"),
    ("null", "localhost:5000"),
    ("file://", "localhost:5000"),
    ("vscode-webview://0f9v3", "localhost:5000"),
    ("chrome-extension://abcdef", "localhost:5000"),
    ("http://[::1", "localhost:5000"),
    ("", "localhost:5000"),
]


@pytest.mark.parametrize(("origin", "host"), FOREIGN)
def test_another_sites_page_is_refused_with_what_its_owner_can_do(
    service: FakeService, origin: str, host: str
) -> None:
    reply = ask(service, origin, host)
    assert reply.status == 403
    assert "--cors-origin" in reply.json()["detail"]
    assert "--forwarded-allow" in reply.json()["detail"]
    assert service.generations == []


@pytest.mark.parametrize(
    "origin",
    [
        EVIL,
        "null",
        "file://",
        "vscode-webview://0f9v3",
        "http://localhost:3000",
        "app://obsidian.md",
    ],
)
def test_the_sentence_names_the_option_that_lets_the_page_in(
    service: FakeService, origin: str
) -> None:
    refused = ask(service, origin).json()["detail"]
    option = refused.partition("--cors-origin ")[2].partition(" ")[0]
    allowed = ask(service, origin, cors_origins=(option,))
    assert allowed.status == 200
    assert allowed.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    "origin", ["http://x/`id`", "http://x;reboot", "$(id)", "http://" + "x" * 999]
)
def test_what_is_no_origin_is_not_offered_to_a_shell(service: FakeService, origin: str) -> None:
    reply = ask(service, origin)
    assert reply.status == 403
    assert origin not in reply.json()["detail"]


@pytest.mark.parametrize(
    ("allowed", "origin", "status"),
    [
        ("*", EVIL, 200),
        ("*", "null", 200),
        ("vscode-webview://*", "vscode-webview://0f9v3", 200),
        ("https://*.example.com", "https://a.example.com", 200),
        ("https://*.example.com", "https://example.com", 403),
        ("https://*.example.com", "https://a.example.com.evil.example", 403),
        ("https://*.example.com", "http://a.example.com", 403),
        ("https://ui.example", "https://uiXexample", 403),
    ],
)
def test_an_allowed_origin_may_be_a_pattern(
    service: FakeService, allowed: str, origin: str, status: int
) -> None:
    assert ask(service, origin, cors_origins=(allowed,)).status == status


@pytest.mark.parametrize(
    "origin", ["localhost:3000", "http://x/", "http://x/y", "http//x", "a b", ""]
)
def test_an_option_that_can_be_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="cors_origin should be a scheme and a host"):
        ServerSettings(cors_origins=(origin,))


STRANGE = [
    "evil.example",
    "evil.example:5000",
    "localhost.evil.example",
    "127.0.0.1.nip.io:5000",
    "LOCALHOST.EVIL.EXAMPLE.",
    "a.local",
]


@pytest.mark.parametrize("host", STRANGE)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/generate"), ("GET", "/v1/models"), ("HEAD", "/"), ("GET", "/nothing"),
     ("POST", "/shutdown"), ("OPTIONS", "/generate")],
)  # fmt: skip
def test_a_name_that_was_made_to_resolve_to_this_machine_opens_nothing(
    service: FakeService, host: str, method: str, path: str
) -> None:
    """The page's browser calls us by the page's own name, so that the origin is the same."""
    reply = ask(service, f"http://{host}", host, method=method, path=path, allow_shutdown=True)
    assert reply.status == 403
    if method != "HEAD":
        name = host.lower().removesuffix(":5000").removesuffix(".")
        assert f"--allowed-host {name} " in reply.body.decode()


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:1", "localhost.", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000",
     "0.0.0.0", "192.168.1.5:5000", "x", "my-laptop:5000", "a.b.localhost",
     "host.docker.internal:5000",
     "host.containers.internal"],
)  # fmt: skip
def test_names_that_no_strangers_page_can_have_are_answered(
    service: FakeService, host: str
) -> None:
    assert ask(service, host=host).status == 200


@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        ({"allowed_hosts": ("llm.example",)}, "llm.example:5000", 200),
        ({"allowed_hosts": ("LLM.example",)}, "llm.Example.", 200),
        ({"allowed_hosts": ("llm.example",)}, "other.example", 403),
        ({"allowed_hosts": ("*.example",)}, "llm.example", 200),
        ({"allowed_hosts": ("*",)}, "evil.example", 200),
        ({"cors_origins": ("https://llm.example",)}, "llm.example", 200),
        ({"cors_origins": ("*",)}, "evil.example", 403),
        ({"host": "::1"}, "evil.example", 403),
        ({"host": "localhost"}, "evil.example", 403),
        # Where the server is meant for others, its names are not known here.
        ({"host": "0.0.0.0"}, "model.default.svc.cluster.local", 200),
        ({"host": "0.0.0.0", "allowed_hosts": ("llm.example",)}, "evil.example", 403),
        ({"host": "0.0.0.0", "allowed_hosts": ("llm.example",)}, "10.1.2.3:5000", 200),
    ],
)
def test_which_names_a_server_goes_by(
    service: FakeService, settings: dict[str, Any], host: str, status: int
) -> None:
    with AppClient(service, ServerSettings(**settings)) as client:
        assert client.post("/generate", ASK, {"host": host}).status == status


def test_a_key_is_enough_by_any_name_and_from_any_page(service: FakeService) -> None:
    more = {"authorization": "Bearer k"}
    reply = ask(service, EVIL, "evil.example", more=more, api_keys=("k",))
    assert reply.status == 200
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("host", ["http://llm.example", "llm.example:80", "a b", "x/y", ""])
def test_an_option_that_can_be_no_host_name_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="allowed_host should be a host name"):
        ServerSettings(allowed_hosts=(host,))


PROXIED = {"x-forwarded-host": "llm.example", "x-forwarded-proto": "https"}


@pytest.mark.parametrize(
    ("believed", "peer", "status"),
    [
        ((), "127.0.0.1", 403),
        (("127.0.0.1",), "127.0.0.1", 200),
        (("127.0.0.1",), "::ffff:127.0.0.1", 200),
        (("10.0.0.0/8", "::1"), "10.2.3.4", 200),
        (("10.0.0.0/8", "::1"), "::1", 200),
        (("10.0.0.0/8",), "192.168.0.1", 403),
        (("*",), "192.168.0.1", 200),
    ],
)
def test_a_proxy_that_the_owner_believes_may_say_what_host_was_called(
    service: FakeService, believed: tuple[str, ...], peer: str, status: int
) -> None:
    reply = ask(
        service,
        "https://llm.example",
        "127.0.0.1:5000",
        more=PROXIED,
        peer=peer,
        forwarded_allow=believed,
        allowed_hosts=("llm.example",),
    )
    assert reply.status == status


def test_what_a_believed_proxy_says_is_checked_like_a_host(service: FakeService) -> None:
    reply = ask(
        service, "https://evil.example", more={"x-forwarded-host": "evil.example"},
        forwarded_allow=("127.0.0.1",),
    )  # fmt: skip
    assert reply.status == 403
    assert "--allowed-host evil.example" in reply.json()["detail"]


@pytest.mark.parametrize("network", ["nginx", "10.0.0.0/99", "10.0.0.1/8", ""])
def test_an_option_that_is_no_network_is_refused(network: str) -> None:
    with pytest.raises(ValueError, match="forwarded_allow"):
        ServerSettings(forwarded_allow=(network,))


def preflight(service: FakeService, origin: str, **settings: Any) -> Reply:
    more = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    return ask(service, origin, method="OPTIONS", more=more, **settings)


@pytest.mark.parametrize("keys", [(), ("k",)])
def test_a_browsers_question_is_answered_with_an_id_and_without_a_key(
    service: FakeService, keys: tuple[str, ...]
) -> None:
    reply = preflight(service, EVIL, cors_origins=(EVIL,), api_keys=keys)
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == EVIL
    assert reply.headers["access-control-allow-headers"] == "authorization,content-type"
    assert reply.headers["access-control-allow-methods"] == "GET, HEAD, POST"
    assert len(reply.headers["x-request-id"]) == 32


@pytest.mark.parametrize("keys", [(), ("k",)])
@pytest.mark.parametrize("allowed", [(), ("https://ui.example",)])
def test_a_browsers_question_for_another_page_is_403_and_names_the_cure(
    service: FakeService, keys: tuple[str, ...], allowed: tuple[str, ...]
) -> None:
    reply = preflight(service, EVIL, cors_origins=allowed, api_keys=keys)
    assert reply.status == 403
    assert f"--cors-origin {EVIL}" in reply.json()["detail"]
    assert "x-request-id" in reply.headers
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [("/v1/models", {"x-api-key": "wrong"}, 401), ("/v1/nothing", {"x-api-key": "k"}, 404)],
)
def test_an_allowed_page_can_read_errors_too(
    service: FakeService, path: str, more: dict[str, str], status: int
) -> None:
    reply = ask(
        service, EVIL, method="GET", path=path, more=more, cors_origins=(EVIL,), api_keys=("k",)
    )
    assert reply.status == status
    assert reply.headers["access-control-allow-origin"] == EVIL
    assert "x-request-id" in reply.headers["access-control-expose-headers"]
