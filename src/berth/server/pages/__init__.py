"""What a browser sees: the page at /, and the documentation, with nothing from other hosts.

All links are relative, so that the pages work behind a proxy that shows the server under a path.
They need no key: they hold nothing but what is the same at every Berth of this version.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from berth.server.context import Server
from berth.server.metrics import package_version
from berth.server.proxies import prefix_of
from berth.server.reply import json_response

# Swagger UI and Redoc, as fastapi-offline brings them.
ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "redoc.standalone.js": "text/javascript",
}
# A page that loads from here alone. Both libraries write styles, and ours a few lines of script.
_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; worker-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# What Java's HttpURLConnection accepts unless told otherwise: it names HTML, and is no browser.
_JAVA_ACCEPT = b"text/html, image/gif, image/jpeg,"


def is_browser(request: Request) -> bool:
    """Whether the client asks for a page to show."""
    accepted = b",".join(value for name, value in request.scope["headers"] if name == b"accept")
    return b"text/html" in accepted.lower() and not accepted.startswith(_JAVA_ACCEPT)


def home(server: Server) -> Response:
    """What this server is, and where to go."""
    secret = bool(server.keys.asked)
    title, state = "Berth", "A language model's server. It asks for a key."
    if not secret:
        title = f"Berth serves {server.models.default.name}"
        state = "It answers." if server.ready else server.models.health().detail
    key = '\n  -H "Authorization: Bearer $BERTH_API_KEY" \\'
    return _page(
        "home.html",
        title=html.escape(title),
        state=html.escape(state),
        key=html.escape(key, quote=False) if secret else "",
        version=package_version(),
    )


def mount(app: FastAPI, server: Server) -> None:
    """Add GET /docs, /redoc, their assets, and /openapi.json."""

    async def docs(request: Request) -> Response:
        return _page(
            "docs.html", **_places(request, "docs"), keys=json.dumps(bool(server.keys.asked))
        )

    async def redoc(request: Request) -> Response:
        return _page("redoc.html", **_places(request, "redoc"))

    async def schema(request: Request) -> Response:
        return json_response(_schema(app, prefix_of(request.scope)))

    for path, handler in (("/docs", docs), ("/redoc", redoc), ("/openapi.json", schema)):
        app.add_api_route(path, handler, methods=["GET"], include_in_schema=False)
    for name in ASSETS:
        app.add_api_route(f"/docs/{name}", _sender(name), methods=["GET"], include_in_schema=False)


def _schema(app: FastAPI, prefix: str) -> dict[str, Any]:
    page = app.openapi()
    return {**page, "servers": [{"url": prefix}]} if prefix else page


def _places(request: Request, name: str) -> dict[str, str]:
    """Where a page finds the others: with a slash behind its name it counts as a folder."""
    below = request.scope["raw_path"].endswith(b"/")
    up = "../" if below else ""
    return {"folder": f"{up}docs/", "schema": f"{up}openapi.json"}


def _page(name: str, **values: str) -> Response:
    headers = {"content-security-policy": _POLICY, "vary": "accept"}
    return Response(_template(name).substitute(values), media_type="text/html", headers=headers)


@cache
def _template(name: str) -> Template:
    return Template((files(__package__) / name).read_text(encoding="utf-8"))


def _sender(name: str) -> Callable[[], Any]:
    async def asset() -> Response:
        headers = {"cache-control": "max-age=86400"}
        return Response(_asset(name), media_type=ASSETS[name], headers=headers)

    return asset


@cache
def _asset(name: str) -> bytes:
    return (files("fastapi_offline") / "static" / name).read_bytes()
