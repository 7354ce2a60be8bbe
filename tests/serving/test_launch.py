"""An engine's processes start together and end together, whatever they do to escape."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from helpers import alive, run, until

from berth.limits.cpus import Cpus
from berth.protocol.config import EngineConfig
from berth.serving import launch
from berth.serving.launch import (
    EngineProcess,
    LaunchConfig,
    engine_command,
    engine_environment,
)

CONFIG = EngineConfig(model="/models/x", socket="/run/x.sock")

# Forks a child into a session of its own, whose parent is then gone: what torchrun's ranks can be.
ESCAPES = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
time.sleep(600)
"""
SERVER = """
import asyncio, sys
from berth.protocol.config import EngineConfig
from berth.serving import launch
from berth.serving.launch import EngineProcess, LaunchConfig

async def main():
    argv = ("-c", "import time; time.sleep(600)")
    process = await EngineProcess.start(
        LaunchConfig(engine_argv=argv), EngineConfig(model="", socket="")
    )
    sys.stdout.write(f"{process.pid}\\n")
    sys.stdout.flush()
    await asyncio.sleep(600)

asyncio.run(main())
"""


def wait_while(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_rank_is_started_as_it_is() -> None:
    command = engine_command(LaunchConfig(), CONFIG)
    assert command[:4] == [sys.executable, "-m", "berth.engines.native", "--config"]
    assert msgspec.json.decode(command[4], type=EngineConfig) == CONFIG


def test_several_ranks_are_started_by_torchrun_on_a_free_loopback_port() -> None:
    config = msgspec.structs.replace(CONFIG, degree=2)
    command = " ".join(engine_command(LaunchConfig(), config))
    assert "-m torch.distributed.run --nnodes 1 --node-rank 0 --nproc-per-node 2" in command
    assert "--rdzv-backend static --master-addr 127.0.0.1 --master-port " in command
    assert "--max-restarts 0 -m berth.engines.native --config {" in command


def test_several_nodes_share_the_ranks() -> None:
    settings = LaunchConfig(nnodes=2, node_rank=1, master_addr="10.0.0.1", master_port=29500)
    config = msgspec.structs.replace(CONFIG, degree=4)
    command = " ".join(engine_command(settings, config))
    assert "--nnodes 2 --node-rank 1 --nproc-per-node 2" in command
    assert "--master-addr 10.0.0.1 --master-port 29500" in command
    assert settings.local_ranks(4) == range(2, 4)


def test_the_engine_that_is_named_is_started() -> None:
    for kind, module in (
        ("native", "berth.engines.native"),
        ("transformers", "berth.engines.transformers"),
    ):
        config = EngineConfig(model="/models/x", socket="/run/x.sock", engine=kind)
        assert engine_command(LaunchConfig(), config)[1:3] == ["-m", module]


@pytest.mark.parametrize("own", [None, "glibc.malloc.arena_max=2"])
def test_an_engines_weights_get_huge_pages_unless_its_owner_tunes_glibc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None
) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if own is not None:
        monkeypatch.setenv("GLIBC_TUNABLES", own)
    wanted = own or "glibc.malloc.hugetlb=1"
    assert engine_environment(LaunchConfig(), CONFIG)["GLIBC_TUNABLES"] == wanted
    told = tmp_path / "told"
    script = "import os, sys; open(sys.argv[1], 'w').write(os.environ['GLIBC_TUNABLES'])"

    async def main() -> None:
        settings = LaunchConfig(engine_argv=("-c", script, str(told)))
        process = await EngineProcess.start(settings, CONFIG)
        await process.wait()
        await process.kill()

    run(main())
    assert told.read_text() == wanted


@pytest.mark.parametrize(
    ("degree", "wanted", "threads"), [(1, None, "3"), (2, None, "2"), (4, None, "1"), (2, 5, "5")]
)
def test_an_engines_libraries_are_told_the_threads_that_a_cpu_limit_allows(
    degree: int, wanted: int | None, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "cpus", lambda: Cpus(64, 3.0, "cpu.max"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    config = msgspec.structs.replace(CONFIG, degree=degree, threads=wanted)
    environment = engine_environment(LaunchConfig(), config)
    assert environment["OMP_NUM_THREADS"] == threads
    assert environment["OPENBLAS_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert engine_environment(LaunchConfig(), config)["OMP_NUM_THREADS"] == "7"


def test_what_cannot_be_started_is_refused_before() -> None:
    with pytest.raises(ValueError, match="address and port of node 0"):
        LaunchConfig(nnodes=2)
    with pytest.raises(ValueError, match="between 0 and 0"):
        LaunchConfig(node_rank=1)
    with pytest.raises(ValueError, match="degree 3 should be a multiple of 2 nodes"):
        LaunchConfig(nnodes=2, master_addr="a", master_port=1).local_ranks(3)


def test_a_process_that_left_its_session_and_parent_is_killed_too(tmp_path: Path) -> None:
    async def main() -> None:
        told = tmp_path / "pid"
        settings = LaunchConfig(engine_argv=("-c", ESCAPES, str(told)))
        process = await EngineProcess.start(settings, CONFIG)
        await until(lambda: told.exists() and told.read_text())
        escaped = int(told.read_text())
        assert alive(escaped)
        os.kill(process.pid, signal.SIGSTOP)  # a stopped one cannot help, nor hinder
        await process.kill()
        assert not alive(escaped)
        assert not alive(process.pid)
        assert await process.wait() == -signal.SIGKILL

    run(main())


def test_the_engine_dies_with_a_server_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        engine = int(server.stdout.readline())
        # Killed once the engine runs by itself, and no guard looks for its parent any more.
        wait_while(lambda: b"guard.py" in Path(f"/proc/{engine}/cmdline").read_bytes())
        assert alive(engine)
        server.kill()
        wait_while(lambda: alive(engine))


def test_no_engine_is_started_for_a_server_that_is_gone() -> None:
    nobody = str(2**22 + 1)  # beyond any process id
    guard = Path(launch.__file__).with_name("guard.py")
    command = [sys.executable, "-I", "-S", str(guard), nobody, "9", sys.executable, "-c", "1"]
    assert subprocess.run(command, check=False).returncode == 1


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, "exited with status 0"),
        (7, "exited with status 7"),
        (-9, "was killed by SIGKILL"),
        (-11, "was killed by SIGSEGV"),
        (-40, "was killed by signal 40"),
        (-7, "was killed by SIGBUS, as when a file that it reads is cut short"),
    ],
)
def test_how_a_process_ended_is_said_in_words(code: int, said: str) -> None:
    assert launch.how_it_ended(code).startswith(said)


def test_how_another_processs_child_ended_is_known_until_it_is_buried() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    async def main() -> None:
        assert await launch.exit_code_of(child.pid, 0.05) is None  # it lives
        assert not launch.is_ending(child.pid)
        child.kill()
        assert await launch.exit_code_of(child.pid, 5) == -signal.SIGKILL
        assert launch.is_ending(child.pid)
        child.wait()
        assert await launch.exit_code_of(child.pid, 5) is None
        assert launch.is_ending(child.pid)

    run(main())


def test_the_exit_code_of_the_engine_is_told() -> None:
    async def main() -> None:
        settings = LaunchConfig(engine_argv=("-c", "raise SystemExit(7)"))
        process = await EngineProcess.start(settings, CONFIG)
        assert await process.wait() == 7
        await process.kill()  # of what has ended: nothing happens

    run(main())
