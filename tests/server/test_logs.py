"""One line per request, with its id and figures, and never a prompt, an answer or a key."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from app_client import AppClient
from fake_service import FakeService

from berth.server.logs import _JsonFormatter, _TextFormatter, configure_logging
from berth.server.settings import LogFormat, ServerSettings
from berth.serving.errors import EngineFailed

SECRET = "the-secret-of-the-prompt"
KEY = "the-secret-key"


def _everything(caplog: pytest.LogCaptureFixture) -> str:
    """All lines in both formats, and all that the records hold besides."""
    formatters = (_TextFormatter(), _JsonFormatter(), logging.Formatter())
    lines = [one.format(record) for record in caplog.records for one in formatters]
    return "\n".join([*lines, *(str(vars(record)) for record in caplog.records)])


@pytest.mark.parametrize(
    "failure",
    [
        None,
        EngineFailed("The engine died."),
        RuntimeError(f"a library quotes {SECRET}"),
        KeyError(SECRET),
    ],
    ids=["fine", "engine", "library", "key-error"],
)
def test_prompts_answers_and_keys_reach_no_log(
    service: FakeService, caplog: pytest.LogCaptureFixture, failure: Exception | None
) -> None:
    caplog.set_level(logging.DEBUG)
    service.reply = lambda prompt: f"{prompt} again"
    if failure is not None:
        service.fail_at, service.failure = 1, failure
    headers = {"authorization": f"Bearer {KEY}"}
    message = {"role": "user", "content": SECRET}
    with AppClient(service, ServerSettings(api_keys=(KEY,))) as client:
        for stream in (False, True):
            for path, body in (
                ("/generate", {"prompts": [SECRET]}),
                ("/chat", {"input_data": {"input_string": [[message]]}}),
                ("/v1/chat/completions", {"messages": [message]}),
                ("/v1/completions", {"prompt": SECRET}),
                ("/v1/completions", {"prompt": SECRET, "model": SECRET}),
                ("/v1/completions", {"prompt": {SECRET: SECRET}}),
                (f"/{SECRET}?q={SECRET}", {"prompt": SECRET}),
            ):
                reply = client.post(path, {**body, "stream": stream}, headers)
                assert failure is None or reply.status >= 400
                if failure is not None and reply.status == 500:
                    assert SECRET not in reply.body.decode()
        client.get("/v1/models", {"authorization": f"Bearer {SECRET}"})
        client.post("/generate", f'{{"prompts": ["{SECRET}'.encode(), headers)
    text = _everything(caplog)
    assert len(caplog.records) >= 16
    assert SECRET not in text
    assert KEY not in text


def test_the_line_has_the_id_the_route_and_the_figures(
    client: AppClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    reply = client.post(
        "/generate", {"prompts": ["x"], "stream": True}, {"x-request-id": "my.id-1"}
    )
    assert reply.headers["x-request-id"] == "my.id-1"
    (record,) = [one for one in caplog.records if one.name == "berth.access"]
    line = json.loads(_JsonFormatter().format(record))
    assert line["request_id"] == "my.id-1"
    assert (line["route"], line["method"], line["status"]) == ("/generate", "POST", 200)
    assert (line["prompt_tokens"], line["output_tokens"]) == (2, 4)
    assert 0 <= line["first_token_milliseconds"] <= line["milliseconds"]
    assert "request_id=my.id-1" in _TextFormatter().format(record)


@pytest.mark.parametrize("forged", ["a b", "a\nb", "é", "x" * 129, ""])
def test_a_request_id_that_could_forge_a_line_is_replaced(client: AppClient, forged: str) -> None:
    given = client.get("/livez", {"x-request-id": forged}).headers["x-request-id"]
    assert given != forged
    assert len(given) == 32


def test_a_server_fault_is_logged_by_its_place_under_its_id(
    client: AppClient, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    service.fail_at, service.failure = 1, ZeroDivisionError("x")
    reply = client.post("/generate", {"prompts": ["x"]})
    assert reply.status == 500
    assert "x-request-id" in reply.json()["detail"]
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    line = json.loads(_JsonFormatter().format(record))
    assert line["request_id"] == reply.headers["x-request-id"]
    assert line["error"] == "ZeroDivisionError"
    assert any("fake_service.py" in place for place in line["at"])


def test_probes_are_quiet(client: AppClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for path in ("/livez", "/readyz", "/healthz", "/", "/metrics"):
        client.get(path)
    assert not caplog.records


@pytest.fixture
def kept_logging() -> Iterator[None]:
    """Handlers and levels as they were, once a test has configured them."""
    loggers = logging.getLogger(), logging.getLogger("berth")
    before = [(one, list(one.handlers), one.level) for one in loggers]
    yield
    for one, handlers, level in before:
        one.handlers[:] = handlers
        one.setLevel(level)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_process_logs_to_standard_error_in_its_format(
    capsys: pytest.CaptureFixture[str], kept_logging: None, log_format: LogFormat
) -> None:
    configure_logging(log_format)
    logging.getLogger("berth.server").info("hello", extra={"fields": {"port": 5000}})
    try:
        raise ValueError(SECRET)
    except ValueError:
        logging.getLogger("anything").exception("it failed")
    lines = capsys.readouterr().err.splitlines()
    assert SECRET not in "".join(lines)
    if log_format == "text":
        assert lines[0].endswith("INFO berth.server: hello port=5000")
        assert lines[2].startswith("ValueError at ")
        return
    first, second = (json.loads(line) for line in lines)
    assert (first["message"], first["port"], first["level"]) == ("hello", 5000, "info")
    assert (second["message"], second["error"]) == ("it failed", "ValueError")


@pytest.mark.parametrize("library", ["httpx", "httpx2", "huggingface_hub", "uvicorn.error", "any"])
def test_no_library_tells_of_its_requests(
    library: str, capsys: pytest.CaptureFixture[str], kept_logging: None
) -> None:
    """Their lines hold whole URLs: the signed address of a gated file, say."""
    configure_logging("text")
    logging.getLogger(library).info("GET https://hub/file?signature=secret")
    logging.getLogger(library).warning("retrying")
    logging.getLogger("berth.anything").info("ours")
    told = capsys.readouterr().err
    assert "secret" not in told
    assert "retrying" in told
    assert "ours" in told
