"""Pages for browsers: complete without internet, under any path, and with a key."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest
from app_client import AppClient
from fake_service import LOADING, FakeService

from berth.server.settings import ServerSettings

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
RUNNING = b'["Server is running",200]'


class Links(HTMLParser):
    """Every address that a page names."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "action")]


def links(page: str) -> list[str]:
    parser = Links()
    parser.feed(page)
    return parser.found


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/redoc", "/redoc/"])
@pytest.mark.parametrize("prefix", ["", "/llm", "/a/b"])
def test_the_documentation_loads_all_that_it_needs_from_this_server(
    client: AppClient, path: str, prefix: str
) -> None:
    reply = client.get(path)
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/html")
    page = reply.body.decode()
    schema = re.search(r'new URL\("([^"]+)", location.href\)', page)
    assert schema is not None
    needed = [link for link in links(page) if not link.startswith("data:")] + [schema[1]]
    assert len(needed) >= 2
    for link in needed:
        seen = urlsplit(urljoin(f"http://host{prefix}{path}", link))
        assert seen.netloc == "host"
        assert seen.path.startswith(f"{prefix}/")
        assert client.get(seen.path.removeprefix(prefix)).status == 200


def test_a_page_may_load_nothing_from_elsewhere(client: AppClient) -> None:
    for path in ("/docs", "/redoc"):
        policy = client.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; connect-src 'self'")
        assert "http" not in policy


@pytest.mark.parametrize(
    ("name", "kind", "holds"),
    [
        ("swagger-ui-bundle.js", "text/javascript", b"SwaggerUIBundle"),
        ("swagger-ui.css", "text/css", b".swagger-ui"),
        ("redoc.standalone.js", "text/javascript", b"Redoc"),
    ],
)
def test_the_assets_are_the_real_ones(
    client: AppClient, name: str, kind: str, holds: bytes
) -> None:
    reply = client.get(f"/docs/{name}")
    assert reply.headers["content-type"].startswith(kind)
    assert holds in reply.body
    assert len(reply.body) > 100_000


def test_with_a_key_the_documentation_opens_and_asks_for_it(service: FakeService) -> None:
    with AppClient(service, ServerSettings(api_keys=("k",))) as client:
        page = client.get("/docs").body.decode()
        assert "const asksForKey = true;" in page
        assert "This server asks for a key." in page
        schema = client.get("/openapi.json").json()
        assert schema["components"]["securitySchemes"]["key"] == {
            "type": "http",
            "scheme": "bearer",
        }
        # What the page tells is the software's; what this server serves is not told.
        assert service.model_id not in str(schema)
        assert client.get("/v1/models").status == 401
    with AppClient(service) as client:
        assert "const asksForKey = false;" in client.get("/docs").body.decode()


def test_a_schema_read_through_a_believed_proxy_leads_back_through_it(
    service: FakeService,
) -> None:
    told = {"x-forwarded-prefix": "/llm/"}
    with AppClient(service, ServerSettings(forwarded_allow=("127.0.0.1",))) as client:
        assert client.get("/openapi.json", told).json()["servers"] == [{"url": "/llm"}]
        assert "servers" not in client.get("/openapi.json").json()
        forged = {"x-forwarded-prefix": "//evil.example"}
        assert "servers" not in client.get("/openapi.json", forged).json()
    with AppClient(service) as client:
        assert "servers" not in client.get("/openapi.json", told).json()


@pytest.mark.parametrize(
    "accept",
    [None, "*/*", "application/json", "text/plain", "application/json, text/plain, */*", "",
     # What java.net.HttpURLConnection sends unless told otherwise.
     "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"],
)  # fmt: skip
def test_programs_get_kaitos_answer_at_the_root(client: AppClient, accept: str | None) -> None:
    reply = client.get("/", {} if accept is None else {"accept": accept})
    assert reply.body == RUNNING
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize("accept", [CHROME, "text/html", "TEXT/HTML, */*;q=0.1"])
def test_browsers_get_a_page_that_says_what_this_is(
    client: AppClient, service: FakeService, accept: str
) -> None:
    reply = client.get("/", {"accept": accept})
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/html")
    page = reply.body.decode()
    assert f"Berth serves {service.model_id}" in page
    assert "It answers." in page
    assert "Authorization" not in page
    for link in links(page):
        assert link.startswith("data:") or client.get(f"/{link}").status == 200


def test_the_page_tells_what_the_server_waits_for(client: AppClient, service: FakeService) -> None:
    service.state = LOADING
    assert LOADING.detail in client.get("/", {"accept": CHROME}).body.decode()


def test_the_page_of_a_server_with_keys_tells_no_more_than_that(service: FakeService) -> None:
    with AppClient(service, ServerSettings(api_keys=("k",))) as client:
        page = client.get("/", {"accept": CHROME}).body.decode()
    assert service.model_id not in page
    assert '"Authorization: Bearer $BERTH_API_KEY" \\' in page


def test_a_models_name_is_text_on_the_page(service: FakeService) -> None:
    service.model_id = "<script>alert(1)</script>"
    with AppClient(service) as client:
        page = client.get("/", {"accept": CHROME}).body.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
