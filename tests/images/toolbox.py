"""Buildah, podman and a base image, where there is no Docker daemon and no registry.

Debian's own packages do it all: what is missing is installed, a base image is made by debootstrap,
and everything is kept in one folder, so that nothing of the machine's own images is touched.
"""

from __future__ import annotations

import ast
import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.berth_server import ROOT, free_port, poll

# Binary, and the package that has it.
TOOLS = {
    "buildah": "buildah",
    "podman": "podman",
    "runc": "runc",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
}
_FURTHER = ("containernetworking-plugins", "uidmap")
BASE = "localhost/berth-test-base"
BUILD = "localhost/berth-test-build"
_SUITE = "bookworm"
_FREE_BYTES = 10 * 10**9
# crun does not know hybrid cgroups, the default limits need CAP_SYS_RESOURCE, and there may be no
# systemd whose journal and timers could be used.
_CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def missing(install: bool = True) -> str | None:
    """Why no image can be built here, once what is missing was installed; None: one can."""
    if os.geteuid() != 0:
        return "images are built here by root alone"
    absent = sorted(package for tool, package in TOOLS.items() if shutil.which(tool) is None)
    if absent and install and shutil.which("apt-get"):
        environment, quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, subprocess.DEVNULL
        for command in (
            ["apt-get", "update", "--quiet=2"],
            ["apt-get", "install", "--quiet=2", "--yes", "--no-install-recommends"],
        ):
            packages = [*TOOLS.values(), *_FURTHER] if "install" in command else []
            subprocess.run([*command, *packages], check=False, env=environment, stdout=quiet)
        return missing(install=False)
    if absent:
        return f"{', '.join(absent)} cannot be found, nor installed by apt-get"
    return None


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an image. `made_by` is the instruction."""

    diff_id: str
    size: int  # bytes, unpacked
    made_by: str


@dataclass(frozen=True, slots=True)
class Built:
    """What a build printed, and whether it succeeded."""

    ok: bool
    output: str
    seconds: float


class Toolbox:
    """The tools, with images and containers of their own in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        (folder / "containers.conf").write_text(_CONTAINERS_CONF)
        self._environment = {
            **os.environ,
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "TMPDIR": str(folder / "tmp"),  # the cache of pip lies here too
        }
        self._store = ["--root", str(folder / "store"), "--runroot", str(folder / "run")]
        self._mounts = _pip_mounts(folder)
        if shutil.disk_usage(folder).free < _FREE_BYTES:
            raise OSError(f"{folder} has less than {_FREE_BYTES // 10**9} GB free")

    def podman(self, *words: str, check: bool = True, timeout: float = 300) -> str:
        """What a podman command prints."""
        done = self._run(["podman", *self._store, *words], timeout)
        assert not check or done.returncode == 0, f"podman {words[0]}: {done.stderr}"
        return done.stdout.strip()

    def logs(self, container: str) -> str:
        """What a container wrote to both of its outputs."""
        done = self._run(["podman", *self._store, "logs", container], 60)
        return done.stdout + done.stderr

    def make_bases(self) -> None:
        """The image that others start from, and the one with a compiler that they are built in."""
        if self.podman("images", "--quiet", BUILD):
            return
        root = self.folder / "rootfs"
        packages = "ca-certificates,python3"
        self._must("debootstrap", "--variant=minbase", f"--include={packages}", _SUITE, str(root))
        self._import(root, BASE)
        self._must("chroot", str(root), "apt-get", "update", "--quiet=2")
        self._must(
            *("chroot", str(root), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install"),
            *("--quiet=2", "--yes", "--no-install-recommends"),
            *("gcc", "libc6-dev", "python3-venv", "tini"),
        )
        self._import(root, BUILD)
        shutil.rmtree(root)

    def cannot_run(self) -> str | None:
        """Why no container can be started on this machine; None: one can."""
        options = ("--rm", "--no-healthcheck", "--publish", f"127.0.0.1:{free_port()}:5000")
        done = self._run(["podman", *self._store, "run", *options, BASE, "true"], 120)
        return None if done.returncode == 0 else f"podman cannot run a container: {done.stderr}"

    def build(
        self,
        dockerfile: str,
        tag: str,
        *,
        context: Path = ROOT,
        arguments: Mapping[str, str] | None = None,
        weights: Path | None = None,
        cached: bool = True,
    ) -> Built:
        """`buildah build` as a person would call it, but for the bases and pip's settings."""
        given = {"BASE_IMAGE": BASE, "BUILD_IMAGE": BUILD, "TORCH_INDEX": "", **(arguments or {})}
        command = [
            *("buildah", *self._store, "build", "--isolation", "chroot", "--pull-never"),
            # As SOURCE_DATE_EPOCH is for BuildKit. Docker's format has HEALTHCHECK.
            *("--layers", "--force-rm", "--timestamp", "0", "--format", "docker"),
            *([] if cached else ["--no-cache"]),
            *self._mounts,
            *(word for name, value in given.items() for word in ("--build-arg", f"{name}={value}")),
            *([] if weights is None else ["--build-context", f"weights={weights}"]),
            *("--file", dockerfile, "--tag", f"localhost/{tag}", str(context)),
        ]
        started = time.monotonic()
        done = self._run(command, 900, cwd=context)
        output = done.stdout + done.stderr
        return Built(done.returncode == 0, output, time.monotonic() - started)

    def berth_build(self, *words: str, checkout: Path) -> Built:
        """`berth build WORDS`, as the docs have it, of this checkout and into this store.

        What follows its -- is what this machine needs: bases that no registry gives, and pip's
        settings.
        """
        (self.folder / "storage.conf").write_text(
            f'[storage]\ndriver = "{self._driver()}"\n'
            f'graphroot = "{self.folder / "store"}"\nrunroot = "{self.folder / "run"}"\n'
        )
        command = [
            *(sys.executable, "-m", "berth.cli.main", "build", *words),
            *("--tool", "buildah", "--base", BASE, "--"),
            *("--isolation", "chroot", "--pull-never", "--force-rm", *self._mounts),
            *("--build-arg", f"BUILD_IMAGE={BUILD}", "--build-arg", "TORCH_INDEX="),
        ]
        started = time.monotonic()
        done = self._run(
            command,
            900,
            cwd=ROOT,
            BERTH_PRESETS=str(checkout / "presets"),
            SOURCE_DATE_EPOCH="0",  # as in build(): what is cached of one serves the other
            CONTAINERS_STORAGE_CONF=str(self.folder / "storage.conf"),
        )
        return Built(done.returncode == 0, done.stdout + done.stderr, time.monotonic() - started)

    def _driver(self) -> str:
        return self.podman("info", "--format", "{{.Store.GraphDriverName}}")

    def layers(self, tag: str) -> list[Layer]:
        """From the base up."""
        about = self.inspect(tag)
        history = json.loads(self.podman("history", "--format", "json", f"localhost/{tag}"))
        made = [step for step in reversed(history) if step["size"]]
        ids = about["RootFS"]["Layers"]
        assert len(ids) == len(made), history
        return [
            Layer(diff_id, step["size"], step["CreatedBy"])
            for diff_id, step in zip(ids, made, strict=True)
        ]

    def inspect(self, tag: str) -> dict[str, Any]:
        """An image's configuration."""
        about: dict[str, Any] = json.loads(self.podman("inspect", f"localhost/{tag}"))[0]
        return about

    @contextlib.contextmanager
    def started(
        self, tag: str, *arguments: str, options: Sequence[str] = (), ready: bool = True
    ) -> Iterator[Container]:
        """A container with a read-only root, its port published on loopback."""
        port = free_port()
        begun = time.monotonic()
        name = self.podman(
            # podman's own health checks need systemd.
            *("run", "--detach", "--no-healthcheck", "--read-only"),
            *("--publish", f"127.0.0.1:{port}:5000", *options, f"localhost/{tag}", *arguments),
        )
        container = Container(self, name, port, begun)
        try:
            if ready:
                container.wait_until_ready()
            yield container
        finally:
            self.podman("rm", "--force", "--time", "0", name)

    def remove(self) -> None:
        """Everything that was made."""
        self.podman("rm", "--all", "--force", check=False)
        # Builds that were refused leave their containers, and the store is mounted on itself.
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for place in reversed([place for place in mounts if place.startswith(f"{self.folder}/")]):
            self._run(["umount", place], 60)
        shutil.rmtree(self.folder)

    def _import(self, root: Path, name: str) -> None:
        # As in the slim images of registries: no documentation, no indices of packages.
        for useless in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"):
            shutil.rmtree(root / useless, ignore_errors=True)
        for cached in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(root / cached, ignore_errors=True)
            (root / cached).mkdir()
        packed = self.folder / "tmp/rootfs.tar"
        self._must("tar", "-C", str(root), "-cf", str(packed), ".")
        self.podman("import", "--quiet", str(packed), name)
        packed.unlink()

    def _must(self, *command: str) -> None:
        done = self._run(list(command), 600)
        assert done.returncode == 0, f"{command[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"

    def _run(
        self, command: Sequence[str], timeout: float, cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=self._environment | environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


class Container:
    """A running container. Has what `e2e.streams.Stream` asks of a server."""

    def __init__(self, toolbox: Toolbox, name: str, port: int, begun: float) -> None:
        self._toolbox = toolbox
        self.name = name
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.begun = begun  # time.monotonic() when it was asked for

    @property
    def log(self) -> str:
        return self._toolbox.logs(self.name)

    def is_running(self) -> bool:
        about = self._toolbox.podman("inspect", "--format", "{{.State.Running}}", self.name)
        return about == "true"

    def wait_until_ready(self) -> None:
        poll(self._is_ready, what=f"readiness of {self.name[:12]}")

    def _is_ready(self) -> bool:
        assert self.is_running(), self.log
        try:
            return self.call("/readyz", timeout=5)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def call(self, path: str, body: Any = None, timeout: float = 120) -> tuple[int, Any]:
        """(status, parsed JSON). POST where there is a body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        headers = {"Content-Type": "application/json"}
        method = "GET" if body is None else "POST"
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def execute(self, *words: str, check: bool = True) -> str:
        """Run a command in it."""
        return self._toolbox.podman("exec", self.name, *words, check=check)

    def signal(self, name: str) -> None:
        """Send it to the first process."""
        self._toolbox.podman("kill", "--signal", name, self.name)

    def wait(self, seconds: float) -> int:
        """The exit code, once it has ended."""
        poll(lambda: not self.is_running(), seconds, "the container's end")
        code = self._toolbox.podman("inspect", "--format", "{{.State.ExitCode}}", self.name)
        return int(code)


def _pip_mounts(folder: Path) -> list[str]:
    """This machine's pip settings, for pip in a build: a file, and the folders that it names."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=False,
    )
    settings = {}
    for line in done.stdout.splitlines():
        if match := re.match(r"(?:global|install|user|:env:)\.([\w-]+)=(.*)", line):
            settings[match[1]] = str(ast.literal_eval(match[2]))
    lines = [f"{name} = {' '.join(value.split())}\n" for name, value in settings.items()]
    (folder / "pip.conf").write_text("[global]\n" + "".join(lines))
    named = {
        word.removeprefix("file://")
        for value in settings.values()
        for word in value.split()
        if word.removeprefix("file://").startswith("/")
    }
    # An index's pages lead to files beside them.
    roots = {str(path.parent) if path.name == "simple" else str(path) for path in map(Path, named)}
    mounts = [f"{folder / 'pip.conf'}:/etc/pip.conf:ro"]
    mounts += [f"{path}:{path}:ro" for path in sorted(roots) if Path(path).exists()]
    return [word for mount in mounts for word in ("--volume", mount)]
