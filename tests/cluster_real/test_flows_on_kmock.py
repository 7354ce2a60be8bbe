"""The flows that a real cluster is tested with, against kmock and the simulator's controllers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster_real import flows
from cluster_real.client import Cluster, FakeNode
from cluster_real.flows import Flow
from cluster_real.process import controller
from controller.live_server import LiveServer

pytestmark = pytest.mark.timeout(180)

_POOL = "kmock"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    with LiveServer(tmp_path, kubelet=False) as running:
        yield running


def test_from_creation_to_deletion(server: LiveServer, tmp_path: Path) -> None:
    cluster = Cluster(server.kubeconfig)
    with (
        FakeNode(cluster, "gpu-1", {"pool": _POOL}) as node,
        controller(server.kubeconfig, tmp_path) as process,
    ):
        flow = Flow(cluster, "models", _POOL, process.log)
        flows.makes_nothing_for_what_does_not_fit(flow)
        flows.becomes_ready_and_says_when_it_is_not(flow, node)
        flows.writes_nothing_where_nothing_changes(flow, seconds=12)
        flows.rolls_out_another_image(flow)
        flows.heals_what_is_deleted_by_hand(flow)
        flows.tells_of_a_field_that_another_owns(flow)
        flows.leaves_nothing_behind(flow)
        assert node.errors == []
