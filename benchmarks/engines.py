"""The contenders: Berth behind HTTP, transformers' engines in processes, other servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.procfs import cpu_seconds, family_cpu_seconds
from benchmarks.shapes import Shape
from berth.cli.http_client import ClientError, parse_url, send, served_model
from berth.cli.load import Ask, Outcome, Run, closed_loop, run_async
from berth.cli.load_stats import Spread, summarise

START_SECONDS = 900.0
RUN_SECONDS = 1800.0
Prompts = Sequence[list[int]]


class Failed(Exception):
    """A contender could not do what was asked; the message is for the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One run. Times in seconds."""

    seconds: float
    output_tokens: int
    tokens_per_second: float
    ttft: Spread | None
    inter_token: Spread | None
    server_cpu_per_token: float | None = None  # of Berth's server process, not of its engine
    client_cpu_per_token: float | None = None


class Contender(Protocol):
    """Something that generates. Every method raises Failed."""

    name: str

    def start(self) -> float | None:
        """Start; seconds from nothing to the first token, None where others started it."""
        ...

    def run(self, prompts: Prompts, output_tokens: int, concurrency: int) -> Figures: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def idle_cpu_seconds(self) -> float | None: ...
    def stop(self) -> None: ...


class HttpServer:
    """Any server with OpenAI's completions, started by somebody else."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self._target = parse_url(url)
        self._model: str | None = None

    def start(self) -> float | None:
        return None

    def run(self, prompts: Prompts, output_tokens: int, concurrency: int) -> Figures:
        return self._figures(self._load(prompts, output_tokens, concurrency), output_tokens)

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def stop(self) -> None: ...

    def idle_cpu_seconds(self) -> float | None:
        return None

    def _load(self, prompts: Prompts, output_tokens: int, concurrency: int) -> Run:
        async def load() -> Run:
            self._model = self._model or (await served_model(self._target, {})).id
            ask = Ask(model=self._model, output_tokens=output_tokens, timeout=RUN_SECONDS)
            return await closed_loop(self._target, ask, list(prompts), concurrency)

        try:
            return run_async(load())
        except ClientError as error:
            raise Failed(str(error)) from None

    def _figures(self, run: Run, asked: int, server_cpu: float | None = None) -> Figures:
        summary = summarise(run, asked)
        if summary.errors:
            count, sentence = sum(summary.errors.values()), next(iter(summary.errors))
            raise Failed(f"{count} of {summary.requests} requests failed: {sentence}")
        tokens, rate = summary.output_tokens, summary.output_tokens_per_second
        if tokens is None or rate is None or summary.short:
            raise Failed(f"{summary.short} answers were shorter than {asked} tokens")
        return Figures(
            seconds=summary.seconds,
            output_tokens=tokens,
            tokens_per_second=rate,
            ttft=summary.ttft,
            inter_token=summary.inter_token,
            server_cpu_per_token=None if server_cpu is None else server_cpu / tokens,
            client_cpu_per_token=summary.client_cpu_per_token,
        )


class Berth(HttpServer):
    """`berth serve` on the shape's folder."""

    def __init__(
        self, shape: Shape, folder: Path, device: str, log: Path, options: Sequence[str] = ()
    ) -> None:
        super().__init__("berth", f"http://127.0.0.1:{_free_port()}")
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [
            sys.executable, "-m", "berth.cli.main", "serve", str(folder),
            "--port", str(self._target.port), "--dtype", "bfloat16", "--device", device,
            "--kv-cache-memory", str(shape.kv_cache_bytes), *options,
        ]  # fmt: skip

    def start(self) -> float:
        begun = time.perf_counter()
        environment = {k: v for k, v in os.environ.items() if k != "BERTH_API_KEY"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)
        asyncio.run(self._ready(begun + START_SECONDS))
        first = self._load([[20] * 16], 2, 1).outcomes[0]
        if first.error is not None:
            raise Failed(first.error)
        return first.arrivals[0] - begun

    async def _ready(self, deadline: float) -> None:
        while time.perf_counter() < deadline:
            assert self._process is not None
            if (status := self._process.poll()) is not None:
                raise Failed(f"berth serve ended with status {status}; see {self._log.name}")
            with contextlib.suppress(ClientError):
                async with send(self._target, "GET", "/readyz") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.02)
        raise Failed(f"berth serve was not ready within {START_SECONDS:g} s")

    def run(self, prompts: Prompts, output_tokens: int, concurrency: int) -> Figures:
        assert self._process is not None
        try:
            before = cpu_seconds(self._process.pid)
            run = self._load(prompts, output_tokens, concurrency)
            used = cpu_seconds(self._process.pid) - before
        except OSError:
            raise Failed("berth serve is gone") from None
        return self._figures(run, output_tokens, used)

    def idle_cpu_seconds(self) -> float | None:
        return None if self._process is None else family_cpu_seconds(self._process.pid)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


class Transformers:
    """One of transformers' engines (see rival.py). Stopped by SIGSTOP while others run."""

    def __init__(self, kind: str, folder: Path, device: str, log: Path) -> None:
        self.name = f"transformers {kind}"
        self._command = [sys.executable, "-m", "benchmarks.rival", kind, str(folder), device]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        begun = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0
            )
        self._line(START_SECONDS)
        asked = time.perf_counter() - begun
        return asked + float(self._ask([[20] * 16], 2)["times"][0][0])

    def run(self, prompts: Prompts, output_tokens: int, concurrency: int) -> Figures:
        outcomes: list[Outcome] = []
        clock = 0.0  # waves one after the other, without what passes between them
        for at in range(0, len(prompts), concurrency):
            answer = self._ask(prompts[at : at + concurrency], output_tokens)
            end = clock + float(answer["seconds"])
            for times in answer["times"]:
                arrivals = [clock + moment for moment in times]
                outcomes.append(Outcome(clock, end, None, arrivals, len(times)))
            clock = end
        summary = summarise(Run(outcomes, clock, 0.0), output_tokens)
        assert summary.output_tokens is not None
        assert summary.output_tokens_per_second is not None
        return Figures(
            seconds=clock,
            output_tokens=summary.output_tokens,
            tokens_per_second=summary.output_tokens_per_second,
            ttft=summary.ttft,
            inter_token=summary.inter_token,
        )

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def idle_cpu_seconds(self) -> float | None:
        return None

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _ask(self, prompts: Prompts, output_tokens: int) -> Any:
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self.start()  # it died in an earlier run; the figures of this one may still be had
        assert self._process is not None
        assert self._process.stdin is not None
        work = {"prompts": [list(prompt) for prompt in prompts], "output_tokens": output_tokens}
        try:
            self._process.stdin.write(json.dumps(work).encode() + b"\n")
        except OSError:
            raise Failed("the process is gone") from None
        answer = self._line(RUN_SECONDS)
        if "error" in answer:
            raise Failed(str(answer["error"]))
        return answer

    def _line(self, seconds: float) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        deadline = time.monotonic() + seconds
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                self.stop()
                raise Failed(f"no answer within {seconds:g} s")
            part = os.read(process.stdout.fileno(), 65536)
            if not part:
                status = process.wait()
                self.stop()
                raise Failed(f"the process ended with status {status}; see {self._log.name}")
            line += part
        answer: dict[str, Any] = json.loads(line)
        return answer


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
