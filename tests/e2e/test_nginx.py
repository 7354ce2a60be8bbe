"""`berth serve` behind nginx, with nginx's defaults and with the lines that docs/http.md gives."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from e2e.berth_server import ROOT, Server, berth_serve, free_port, poll

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx here (Debian: nginx-light)")

UI = "https://ui.example"
ASK = {"prompts": ["2 + 2 ="], "parameters": {"max_gen_len": 4, "temperature": 0}}
# nginx speaks HTTP/1.0 to what is behind it, names that as the Host, and says nothing of clients.
_CONF = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{ listen 127.0.0.1:{defaults}; location / {{ proxy_pass http://127.0.0.1:{berth}; }} }}
    server {{
        listen 127.0.0.1:{documented};
        {documentation}
    }}
}}
"""


class Proxy:
    """nginx on two ports: with its defaults, and as documented, under /llm/."""

    def __init__(self, defaults: int, documented: int) -> None:
        self.defaults = f"http://127.0.0.1:{defaults}"
        self.documented = f"http://127.0.0.1:{documented}"


def documented_lines(berth: int) -> str:
    """The page's own lines, for another port."""
    block = re.search(r"```nginx\n(.*?)```", (ROOT / "docs/http.md").read_text(), re.DOTALL)
    assert block is not None
    assert "127.0.0.1:5000" in block[1]
    return block[1].replace("127.0.0.1:5000", f"127.0.0.1:{berth}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ["--threads", "1", "--forwarded-allow", "127.0.0.1", "--cors-origin", UI]
    with berth_serve(tmp_path_factory.mktemp("berth"), *options) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("nginx")
    ports = {"defaults": free_port(), "documented": free_port()}
    conf = folder / "nginx.conf"
    documentation = documented_lines(server.port)
    conf.write_text(
        _CONF.format(folder=folder, berth=server.port, documentation=documentation, **ports)
    )
    command = [str(NGINX), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(conf)]
    process = subprocess.Popen(command)
    running = Proxy(**ports)
    try:
        poll(lambda: reached(running.defaults), 20, "nginx's start")
        yield running
    finally:
        process.terminate()
        process.wait(20)


def reached(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("place", ["defaults", "documented"])
def test_a_stream_comes_event_by_event_and_a_hang_up_goes_through(
    server: Server, proxy: Proxy, place: str
) -> None:
    url = proxy.defaults if place == "defaults" else f"{proxy.documented}/llm"
    body = {"prompt": "Once", "stream": True, "max_tokens": 450, "ignore_eos": True}
    with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as reply:
        assert reply.status_code == 200
        identity = reply.headers["x-request-id"]
        assert next(reply.iter_lines()).startswith("data: ")
    # Had nginx kept the events together, all 450 would have been made before the first came.
    line = poll(lambda: re.search(rf"request_id={identity} .*", server.log), 30, "the log line")
    assert "status=499" in line[0]
    assert int(re.search(r"output_tokens=(\d+)", line[0])[1]) < 400  # type: ignore[index]


def text_of(stream: str) -> str:
    events = stream.removesuffix("data: [DONE]\n\n").split("\n\n")[:-1]
    return "".join(json.loads(event.removeprefix("data: "))["response"] for event in events)


def test_a_whole_stream_is_the_same_through_nginx(server: Server, proxy: Proxy) -> None:
    body = {**ASK, "stream": True}
    texts = []
    for url in (server.url, proxy.defaults, f"{proxy.documented}/llm"):
        stream = httpx.post(f"{url}/generate", json=body, timeout=60).text
        assert stream.endswith("data: [DONE]\n\n")
        texts.append(text_of(stream))
    assert texts == [texts[0]] * 3
    assert texts[0]


def ask(url: str, origin: str, **more: str) -> tuple[int, Any]:
    reply = httpx.post(f"{url}/generate", json=ASK, headers={"origin": origin, **more}, timeout=60)
    return reply.status_code, reply.json()


def test_a_page_of_nginxs_own_origin_may_call_where_nginx_tells_it(proxy: Proxy) -> None:
    status, answer = ask(f"{proxy.documented}/llm", proxy.documented)
    assert (status, len(answer["results"])) == (200, 1)
    status, answer = ask(proxy.defaults, proxy.defaults)
    assert status == 403
    assert f"--cors-origin {proxy.defaults} " in answer["detail"]
    assert "--forwarded-allow" in answer["detail"]


def test_a_page_that_the_owner_named_may_call_whatever_nginx_tells(proxy: Proxy) -> None:
    for url in (proxy.defaults, f"{proxy.documented}/llm"):
        assert ask(url, UI)[0] == 200
        assert ask(url, "https://evil.example")[0] == 403


def test_a_strange_name_is_refused_through_nginx(proxy: Proxy) -> None:
    status, answer = ask(f"{proxy.documented}/llm", "http://evil.example", host="evil.example")
    assert status == 403
    assert "--allowed-host evil.example" in answer["detail"]


@pytest.mark.parametrize("forged", [{}, {"x-forwarded-for": "127.0.0.1"}])
def test_nobody_ends_the_server_through_nginx(
    server: Server, proxy: Proxy, forged: dict[str, str]
) -> None:
    for url in (proxy.defaults, f"{proxy.documented}/llm"):
        reply = httpx.post(f"{url}/shutdown", headers=forged, timeout=20)
        assert reply.status_code == 403
        assert "--allow-shutdown" in reply.json()["detail"]
    assert server.is_ready()


def test_the_documentation_works_under_a_path(proxy: Proxy) -> None:
    base = f"{proxy.documented}/llm"
    page = httpx.get(f"{base}/docs", timeout=20)
    assert page.status_code == 200
    assets = re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text)
    assert len(assets) == 2
    for asset in assets:
        assert httpx.get(f"{base}/{asset}", timeout=20).status_code == 200
    assert json.loads(httpx.get(f"{base}/openapi.json").text)["servers"] == [{"url": "/llm"}]
