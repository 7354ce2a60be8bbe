"""Fixtures of this room. The helpers beside this file are imported by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from app_client import AppClient
from fake_service import FakeService
from live_server import LiveServer

from berth.server.settings import ServerSettings


@pytest.fixture
def service() -> FakeService:
    """A model that is ready and answers in four pieces."""
    return FakeService()


@pytest.fixture
def client(service: FakeService) -> Iterator[AppClient]:
    """An app over `service` with the default settings, called without a network."""
    with AppClient(service) as client:
        yield client


@pytest.fixture
def live(service: FakeService) -> Iterator[LiveServer]:
    """The same on a real port of the loopback interface."""
    with LiveServer(service, ServerSettings(port=0)) as server:
        yield server
