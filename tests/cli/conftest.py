"""Fixtures of the command-line tests."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

# fairscale installs a package named benchmarks; ours comes first.
sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.fixture
def unused_port() -> int:
    """A port of loopback where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
