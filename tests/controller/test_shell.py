"""kopf and the kubernetes client against kmock: start, watch, reconcile, hand over, stop.

The controllers list once an hour, so that whatever happens within a test comes through kopf.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from berth.controller.kinds import (
    CONFIG_MAP,
    LEASE,
    NODE,
    NODE_CLAIM,
    POD,
    SECRET,
    SERVICE,
    STATEFUL_SET,
    WORKSPACE,
    Kind,
)
from controller.live_server import LiveServer, status_of, wait_until
from controller.simulator.objects import MACHINES, NAMESPACE, gpu_node, workspace

pytestmark = pytest.mark.timeout(120)

_FAST_LEASE = ("--lease-duration=3", "--lease-renew=2", "--lease-retry=0.3")


class Running:
    """A `berth controller` process."""

    def __init__(self, server: LiveServer, tmp: Path, name: str, *options: str) -> None:
        self.name = name
        self.port = _free_port()
        self._log = tmp / f"{name}.log"
        command = [
            *(sys.executable, "-m", "berth.cli.main", "controller"),
            *(f"--kubeconfig={server.kubeconfig}", f"--identity={name}", "--host=127.0.0.1"),
            *(f"--port={self.port}", "--lease-namespace=berth", "--resync=3600", *_FAST_LEASE),
            *options,
        ]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env=dict(os.environ))

    def log(self) -> str:
        return self._log.read_text()

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    with LiveServer(tmp_path, machines=MACHINES) as running:
        yield running


@contextmanager
def controllers(server: LiveServer, tmp: Path, *names: str, **options: Any) -> Iterator[Any]:
    with ExitStack() as stack:
        found = []
        for name in names:
            running = Running(server, tmp, name, *options.get("more", ()))
            stack.callback(running.kill)
            found.append(running)
        yield found


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _workspace(server: LiveServer) -> dict[str, Any] | None:
    return server.do(lambda state: state.find(WORKSPACE, NAMESPACE, "llama"))


def _serves(server: LiveServer) -> bool:
    return status_of(_workspace(server), "WorkspaceReady") == "True"


def _holder(server: LiveServer) -> str:
    lease = server.do(lambda state: state.find(LEASE, "berth", "berth-controller"))
    return str(lease["spec"]["holderIdentity"]) if lease else ""


def _apply(server: LiveServer) -> None:
    server.do(lambda state: state.create(WORKSPACE, workspace()))


def test_serves_a_workspace_and_stops_in_order(server: LiveServer, tmp_path: Path) -> None:
    server.do(lambda state: state.create(NODE, gpu_node()))
    with controllers(server, tmp_path, "one") as (one,):
        wait_until(lambda: one.get("/readyz")[0] == 200, "ready")
        assert one.get("/healthz") == (200, "ok\n")
        _apply(server)
        wait_until(lambda: _serves(server), f"served: {one.log()}")
        metrics = one.get("/metrics")[1]
        assert 'berth_workspaces{condition="WorkspaceReady",reason="WorkspaceServes"' in metrics
        assert 'workqueue_adds_total{name="workspace"}' in metrics
        assert 'leader_election_master_status{name="workspace"} 1.0' in metrics
        assert 'rest_client_requests_total{code="200",method="PATCH"}' in metrics
        assert one.stop() == 0
        assert _holder(server) == "", "the lease is given back"
        assert "stopped" in one.log()
        assert "Traceback" not in one.log()
        assert "a-token" not in one.log()


def test_writes_only_as_berth_and_kopf_writes_nothing(server: LiveServer, tmp_path: Path) -> None:
    server.do(lambda state: state.create(NODE, gpu_node()))
    _apply(server)
    with controllers(server, tmp_path, "one") as (one,):
        wait_until(lambda: _serves(server), "served")
        one.stop()
    writes = [request for request in server.requests if request.method != "GET"]
    assert {request.agent for request in writes} == {"berth-controller"}
    assert {request.manager for request in writes} == {"berth"}
    found = _workspace(server)
    assert found is not None
    assert "kopf" not in str(found)
    assert "annotations" not in found["metadata"]
    assert "finalizers" not in found["metadata"]


def _comes_back(server: LiveServer, kind: Kind) -> None:
    """Delete it, and wait for another one."""
    before = server.do(lambda state: state.get(kind, NAMESPACE, "llama"))
    server.do(lambda state: state.delete(kind, NAMESPACE, "llama"))

    def anew() -> bool:
        found = server.do(lambda state: state.find(kind, NAMESPACE, "llama"))
        return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]

    wait_until(anew, f"a new {kind.kind}")


def test_what_is_deleted_by_hand_comes_back(server: LiveServer, tmp_path: Path) -> None:
    server.do(lambda state: state.create(NODE, gpu_node()))
    _apply(server)
    with controllers(server, tmp_path, "one"):
        wait_until(lambda: _serves(server), "served")
        for kind in (SERVICE, STATEFUL_SET):
            _comes_back(server, kind)
        wait_until(lambda: _serves(server), "served again")


def test_the_second_takes_over_when_the_first_is_killed(server: LiveServer, tmp_path: Path) -> None:
    server.do(lambda state: state.create(NODE, gpu_node()))
    with controllers(server, tmp_path, "one", "two") as (one, two):
        first = wait_until(lambda: _holder(server), "held")
        leader, other = (one, two) if first == "one" else (two, one)
        wait_until(lambda: other.get("/readyz")[0] == 200, "ready, though it does not lead")
        leader.kill()
        _apply(server)
        wait_until(lambda: _holder(server) == other.name, "handed over")
        wait_until(lambda: _serves(server), "served by the second")


def test_the_lease_is_given_back_at_once(server: LiveServer, tmp_path: Path) -> None:
    with controllers(server, tmp_path, "one", "two") as (one, two):
        first = wait_until(lambda: _holder(server), "held")
        leader, other = (one, two) if first == "one" else (two, one)
        wait_until(lambda: other.get("/readyz")[0] == 200, "ready")
        assert leader.stop() == 0
        wait_until(lambda: _holder(server) == other.name, "handed over", seconds=2.5)


def test_outlives_an_outage_of_the_api_server(server: LiveServer, tmp_path: Path) -> None:
    """C1: 503 for a while, then 410 on every watch."""
    server.do(lambda state: state.create(NODE, gpu_node()))
    with controllers(server, tmp_path, "one") as (one,):
        wait_until(lambda: one.get("/readyz")[0] == 200, "ready")
        server.set_outage(True)
        before = len(server.requests)
        wait_until(lambda: "cannot" in one.log() or "failed" in one.log(), "noticed")
        assert one.get("/healthz")[0] == 200, "a restart would not help"
        assert len(server.requests) == before
        server.expire_watches()
        server.set_outage(False)
        _apply(server)
        wait_until(lambda: _serves(server), f"served: {one.log()[-3000:]}", seconds=60)
        assert one.process.poll() is None


def test_a_403_of_a_server_that_has_just_come_back_is_tried_again(
    server: LiveServer, tmp_path: Path
) -> None:
    """faults K.2: watches, the Lease and the listing meet 403 while the authorizer reads roles."""
    server.do(lambda state: state.create(NODE, gpu_node()))
    _apply(server)
    with controllers(server, tmp_path, "one") as (one,):
        wait_until(lambda: _serves(server), "served")
        server.set_dropping(True)
        wait_until(lambda: one.log().count("cannot be renewed") > 12, "an outage of seconds")
        server.do(lambda state: state.delete(SERVICE, NAMESPACE, "llama"))
        server.expire_watches()
        server.set_denying(True)
        server.set_dropping(False)
        denied = server.handler.denied
        wait_until(lambda: sum("/leases" in asked for asked in denied) >= 3, "the Lease again")
        wait_until(
            lambda: sum("/services" in asked for asked in denied) >= 3,
            lambda: f"watched again: {denied[-40:]}, {one.log()[-3000:]}",
        )
        server.set_denying(False)
        wait_until(
            lambda: server.do(lambda state: state.find(SERVICE, NAMESPACE, "llama")),
            lambda: f"the Service again: {one.log()[-3000:]}",
            seconds=10,
        )
        wait_until(lambda: "the API server answers again" in one.log(), "told")
        assert "watching failed" not in one.log(), "kopf's session lives on"
        assert "RBAC" not in one.log(), "nobody is sent to look at roles that are right"
        assert one.log().count("; will retry: ") <= 2
        assert one.stop() == 0


def test_a_403_that_stays_names_its_cure(server: LiveServer, tmp_path: Path) -> None:
    server.set_denying(True)
    with controllers(server, tmp_path, "one") as (one,):
        wait_until(lambda: "cannot be listed" in one.log(), "told")
        code, said = one.get("/readyz")
        assert code != 200
        assert "RBAC does not give the controller this right" in said
        assert "helm upgrade" in said


def _config(content: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": NAMESPACE, "name": "options"},
        "data": {"inference_config.yaml": content},
    }


def test_a_change_of_the_config_map_is_noticed_at_once(server: LiveServer, tmp_path: Path) -> None:
    """faults K.20: through a watch of its metadata; the next look by the clock is a minute away."""
    server.do(lambda state: state.create(NODE, gpu_node()))
    server.do(lambda state: state.create(CONFIG_MAP, _config("")))
    named = workspace()
    named["inference"]["config"] = "options"
    server.do(lambda state: state.create(WORKSPACE, named))

    def arguments() -> str:
        found = server.do(lambda state: state.find(STATEFUL_SET, NAMESPACE, "llama"))
        return str(found["spec"]["template"]["spec"]["containers"]) if found else ""

    def change(content: str) -> None:
        patch = {"data": {"inference_config.yaml": content}}
        server.do(lambda state: state.merge(CONFIG_MAP, NAMESPACE, "options", patch))

    with controllers(server, tmp_path, "one") as (one,):
        wait_until(lambda: _serves(server), "served")
        change("max-model-len: 1024")
        wait_until(lambda: "--max-model-len=1024" in arguments(), "rolled out", seconds=10)
        wait_until(lambda: status_of(_workspace(server), "UpToDate") == "True", "up to date")
        change("max-modle-len: 1024")
        wait_until(lambda: status_of(_workspace(server), "UpToDate") == "False", "told", seconds=10)
        assert _serves(server), "the model goes on"
        server.do(lambda state: state.delete(CONFIG_MAP, NAMESPACE, "options"))
        wait_until(lambda: "ConfigMissing" in str(_workspace(server)), "told", seconds=10)
        assert _serves(server)
        assert one.stop() == 0
        assert "Traceback" not in one.log()


def test_a_missing_secret_of_the_chart_takes_no_answer_away(
    server: LiveServer, tmp_path: Path
) -> None:
    """faults K.25: `helm upgrade --set models.apiKeySecret=keys` without that Secret."""
    server.do(lambda state: state.create(NODE, gpu_node()))
    _apply(server)
    with controllers(server, tmp_path, "one") as (one,):
        wait_until(lambda: _serves(server), "served")
        assert one.stop() == 0
    before = server.do(lambda state: state.get(POD, NAMESPACE, "llama-0"))["metadata"]["uid"]
    more = ("--api-key-secret=keys", "--look-for-secrets")
    with controllers(server, tmp_path, "two", more=more) as (two,):
        wait_until(lambda: "NeedsMissing" in str(_workspace(server)), lambda: f"told: {two.log()}")
        assert _serves(server)
        pod = server.do(lambda state: state.get(POD, NAMESPACE, "llama-0"))
        assert pod["metadata"]["uid"] == before
        asked = [request for request in server.requests if request.plural == "secrets"]
        assert {(request.method, request.name) for request in asked} == {("GET", "keys")}
        metadata = {"name": "keys", "namespace": NAMESPACE}
        keys = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        server.do(lambda state: state.create(SECRET, keys))
        wait_until(
            lambda: status_of(_workspace(server), "UpToDate") == "True" and _serves(server),
            lambda: f"rolled out: {two.log()[-3000:]}",
        )
        assert "Traceback" not in two.log()


def test_watches_node_claims_once_their_kind_is_there(server: LiveServer, tmp_path: Path) -> None:
    """KAITO #1725: the controller starts without Karpenter's CRD, and finds it later."""
    server.do(lambda state: state.missing.add(NODE_CLAIM))
    plural = f"{NODE_CLAIM.api_version}/{NODE_CLAIM.plural}"
    server.do(lambda state: server.handler.resources.pop(plural))
    more = ("--resync=10", "--provisioning", "--node-class=karpenter.k8s.aws/EC2NodeClass/gpu")
    claimed = workspace(labels={"apps": "llama"}, instanceType="Standard_NC24ads_A100_v4")
    with controllers(server, tmp_path, "one", more=more) as (one,):
        server.do(lambda state: state.create(WORKSPACE, claimed))
        wait_until(
            lambda: status_of(_workspace(server), "NodeClaimReady") == "False", "told: missing"
        )
        server.do(lambda state: state.missing.discard(NODE_CLAIM))
        server.do(lambda state: server.handler.declare(NODE_CLAIM))
        wait_until(lambda: _serves(server), f"served: {one.log()[-3000:]}", seconds=60)
        server.do(lambda state: state.delete(WORKSPACE, NAMESPACE, "llama"))
        wait_until(lambda: _workspace(server) is None, "gone, after its NodeClaim")
        assert server.do(lambda state: state.search(NODE_CLAIM)) == []


def test_only_the_namespaces_that_it_is_told(server: LiveServer, tmp_path: Path) -> None:
    server.do(lambda state: state.create(NODE, gpu_node()))
    elsewhere = workspace("other")
    elsewhere["metadata"]["namespace"] = "elsewhere"
    server.do(lambda state: state.create(WORKSPACE, elsewhere))
    _apply(server)
    with controllers(server, tmp_path, "one", more=(f"--namespace={NAMESPACE}",)):
        wait_until(lambda: _serves(server), "served")
    found = server.do(lambda state: state.get(WORKSPACE, "elsewhere", "other"))
    assert "status" not in found


def test_a_port_that_is_taken_is_a_sentence(server: LiveServer, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with controllers(server, tmp_path, "one", more=(f"--port={port}",)) as (one,):
            assert one.process.wait(30) == 1
            assert "Error:" in one.log()
            assert str(port) in one.log()
            assert "Traceback" not in one.log()
