"""Probes tell the truth: alive is about the process, ready about the next request."""

from __future__ import annotations

import pytest
from app_client import AppClient
from fake_service import LOADING, READY, FakeService

from berth.server.app import create_worker_app
from berth.serving.service import Health


@pytest.mark.parametrize("state", ["starting", "loading", "restarting", "draining", "failed"])
def test_livez_never_depends_on_the_engine(
    client: AppClient, service: FakeService, state: str
) -> None:
    service.state = Health(state, "A sentence.", False)
    assert client.get("/livez").status == 200
    reply = client.get("/readyz")
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert reply.json() == {"status": state, "detail": "A sentence."}
    assert client.get("/healthz").status == 503


def test_readyz_is_200_while_a_request_would_be_served(client: AppClient) -> None:
    reply = client.get("/readyz")
    assert (reply.status, reply.json()) == (200, {"status": "ready"})


def test_readyz_shows_progress_while_loading(client: AppClient, service: FakeService) -> None:
    service.state = LOADING
    assert client.get("/readyz").json()["progress"] == 0.25


def test_a_drain_ends_readiness_at_once(client: AppClient) -> None:
    client.lifecycle.begin_drain()
    assert client.get("/readyz").json()["status"] == "draining"
    assert client.get("/livez").status == 200
    assert client.get("/v1/models").status == 200


@pytest.mark.parametrize("path", ["/generate", "/chat", "/v1/chat/completions"])
def test_a_drain_refuses_new_calls_with_retry_after(client: AppClient, path: str) -> None:
    client.lifecycle.begin_drain()
    reply = client.post(path, {})
    assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    assert "x-request-id" in reply.headers


def test_a_worker_node_answers_its_probes_and_nothing_else(service: FakeService) -> None:
    state = [LOADING]
    app = create_worker_app(lambda: state[0])
    with AppClient(service, app=app) as client:
        assert client.get("/healthz").status == 503
        state[0] = READY
        for path in ("/healthz", "/readyz", "/livez"):
            assert client.get(path).status == 200
        for path in ("/", "/generate", "/v1/models", "/metrics", "/shutdown"):
            assert client.get(path).status == 404
