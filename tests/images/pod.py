"""A pod of the planner or of a chart, run by podman as a kubelet would: image, arguments,
environment, user, mounts, memory, probes. What it cannot do is said by an assertion.

The network has no way out, as with the pods' NetworkPolicy, and the host has no address in it:
probes and calls are made from within the pod's own network, as `kubectl port-forward` makes them,
the probes to the pod's address, as a kubelet sends them.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from berth.cluster.quantity import parse_quantity
from berth.presets.image_names import full_name
from e2e.berth_server import run_shell
from images.toolbox import Container, Toolbox

Object = Mapping[str, Any]
_NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True)
class Probe:
    """One of a container's probes, asked once."""

    path: str
    port: int
    period: float
    timeout: float
    failures: int


class Pod(Container):
    """A running container of a pod."""

    def __init__(self, toolbox: Toolbox, name: str, begun: float, spec: Object) -> None:
        super().__init__(toolbox, name, 5000, begun)
        address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        said = toolbox.podman("inspect", "--format", "{{.State.Pid}} " + address, name)
        self._pid, self.address = said.split()
        (self.container,) = spec["containers"]
        self.started = 0.0  # seconds from `begun` until the startup probe passed

    def shell(self, command: str) -> str:
        """What a shell command prints that is run within the pod's network."""
        return run_shell(
            f"nsenter --net=/proc/{self._pid}/ns/net {shlex.join(['sh', '-c', command])}"
        )

    def passes(self, name: str) -> bool:
        """Ask a probe once."""
        probe = self._probe(name)
        url = f"http://{self.address}:{probe.port}{probe.path}"
        curl = f"curl -s -o /dev/null -w '%{{http_code}}' --max-time {probe.timeout} {url} || true"
        return "200" <= self.shell(curl) < "400"

    def _probe(self, name: str) -> Probe:
        of = self.container[name]
        port = of["httpGet"]["port"]
        ports = {one["name"]: one["containerPort"] for one in self.container["ports"]}
        return Probe(
            of["httpGet"]["path"],
            ports.get(port, port),
            of["periodSeconds"],
            of["timeoutSeconds"],
            of["failureThreshold"],
        )

    def start(self) -> None:
        """Probe it as the kubelet does until its startup probe passes.

        Fails where the container ends, or the probe has failed as often as it may.
        """
        probe = self._probe("startupProbe")
        for _ in range(probe.failures):
            asked = time.monotonic()
            if self.passes("startupProbe"):
                self.started = time.monotonic() - self.begun
                return
            assert self.is_running(), self.log
            time.sleep(max(0.0, probe.period - (time.monotonic() - asked)))
        raise AssertionError(f"the startup probe failed {probe.failures} times: {self.log}")

    def call(self, path: str, body: Any = None, timeout: float = 120) -> tuple[int, Any]:
        raise NotImplementedError("nothing is published: use shell()")


@contextlib.contextmanager
def running(toolbox: Toolbox, template: Object, secrets: Sequence[Object] = ()) -> Iterator[Pod]:
    """The pod of a template: its only container, started."""
    spec = template["spec"]
    (of,) = spec["containers"]
    # Without a way out: neither a hub nor a mirror can be reached.
    network = f"berth-pod-{os.getpid()}-{next(_NUMBERS)}"
    toolbox.podman("network", "create", "--internal", network)
    name = ""
    try:
        begun = time.monotonic()
        entrypoint = ("--entrypoint", json.dumps(of["command"])) if "command" in of else ()
        name = toolbox.podman(
            *("run", "--detach", "--no-healthcheck", "--pull=never", "--network", network),
            *_security(spec, of),
            *_resources(of),
            *_mounts(spec, of),
            *_environment(of, secrets),
            *entrypoint,
            full_name(of["image"]),  # as a kubelet reads it
            *of.get("args", ()),
        )
        yield Pod(toolbox, name, begun, spec)
    finally:
        if name:
            toolbox.podman("rm", "--force", "--time", "0", name)
        toolbox.podman("network", "rm", "--force", network)


def _security(spec: Object, of: Object) -> Iterator[str]:
    pod, own = spec["securityContext"], of["securityContext"]
    assert pod["runAsNonRoot"] is True
    yield from ("--user", f"{pod['runAsUser']}:{pod['runAsGroup']}")
    yield from ("--group-add", str(pod["fsGroup"]))
    assert own["readOnlyRootFilesystem"] is True
    # podman's own /tmp and /run would hide that a place to write is missing.
    yield from ("--read-only", "--read-only-tmpfs=false")
    assert own["allowPrivilegeEscalation"] is False
    yield from ("--security-opt", "no-new-privileges")
    assert own["capabilities"] == {"drop": ["ALL"]}
    yield "--cap-drop=ALL"


def _resources(of: Object) -> Iterator[str]:
    limits = of["resources"]["limits"]
    assert set(limits) <= {"cpu", "memory"}, "no GPU is here"
    memory = parse_quantity(limits["memory"])
    yield from (f"--memory={memory}", f"--memory-swap={memory}")
    if "cpu" in limits:
        whole, milli, _ = limits["cpu"].partition("m")
        yield f"--cpus={float(whole) / (1000 if milli else 1)}"


def _mounts(spec: Object, of: Object) -> Iterator[str]:
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for mount in of["volumeMounts"]:
        volume = volumes[mount["name"]]
        assert volume.keys() == {"name", "emptyDir"}, volume
        size = volume["emptyDir"].get("sizeLimit")
        limit = f",tmpfs-size={parse_quantity(size)}" if size else ""
        # A kubelet gives an emptyDir to everybody, and to the group fsGroup.
        where = f"type=tmpfs,destination={mount['mountPath']}"
        yield from ("--mount", f"{where},tmpfs-mode=1777{limit}")


def _environment(of: Object, secrets: Sequence[Object]) -> Iterator[str]:
    held = {secret["metadata"]["name"]: secret["data"] for secret in secrets}
    for entry in of.get("env", ()):
        if "value" in entry:
            value = entry["value"]
        else:
            reference = entry["valueFrom"]["secretKeyRef"]
            value = base64.b64decode(held[reference["name"]][reference["key"]]).decode()
        yield from ("--env", f"{entry['name']}={value}")
