"""Ranks killed and stopped, servers told to go, clients that hang up: again and again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.soak.load import Calls, described
from benchmarks.soak.server import Broken, Server, gone, serving
from benchmarks.soak.streams import Call, Reply, ask
from berth.cli.load import run_async

STREAMS = 8
_GONE_SECONDS = 30.0
_CANCELLED = 'vllm:request_success_total{finished_reason="abort"}'
_GRACE = 2.0  # seconds, of the servers that are told to go: shorter than the longest answers


@dataclass(slots=True)
class StrikeReport:
    """What became of streams whose engine was killed or stopped in the middle."""

    strikes: int = 0
    streams: int = 0
    equal: int = 0  # byte for byte what they are undisturbed
    errors: Counter[str] = field(default_factory=Counter)
    steady: bool = True  # whether two undisturbed runs were equal
    longest_gap: float = 0.0  # seconds without an event in a stream
    seconds_until_gone: list[float] = field(default_factory=list)
    restarts: int = 0  # as the server counts them

    @property
    def kept(self) -> bool:
        """Whether every stream was completed, and every strike was seen as one death."""
        return not self.errors and self.restarts == self.strikes


def strike(
    server: Server,
    number: signal.Signals,
    times: int,
    *,
    seed: str,
    tokens: int,
    progress: Any = None,
) -> StrikeReport:
    """Send a signal to a rank in the middle of 8 greedy streams, `times` times."""
    report = StrikeReport()
    draw = random.Random(seed)
    calls = run_async(_greedy(server, seed, tokens))
    want = run_async(_together(server, calls))
    again = run_async(_together(server, calls))
    report.steady = [reply.texts for reply in want] == [reply.texts for reply in again]
    before = server.metrics().get("berth_engine_restarts_total", 0.0)
    for _ in range(times):
        replies = [Reply([""]) for _ in calls]
        run_async(_struck(server, calls, replies, number, draw, report))
        report.strikes += 1
        for reply, undisturbed in zip(replies, want, strict=True):
            report.streams += 1
            report.longest_gap = max(report.longest_gap, reply.longest_gap)
            if reply.error is not None:
                report.errors[reply.error] += 1
            elif reply.texts == undisturbed.texts:
                report.equal += 1
        if progress is not None:
            progress(report)
    after = server.metrics().get("berth_engine_restarts_total", 0.0)
    report.restarts = int(after - before)
    return report


async def _struck(
    server: Server,
    calls: Sequence[Call],
    replies: Sequence[Reply],
    number: signal.Signals,
    draw: random.Random,
    report: StrikeReport,
) -> None:
    running = [
        asyncio.create_task(ask(server.target, call, reply))
        for call, reply in zip(calls, replies, strict=True)
    ]
    # After so many events of all streams together: from their first tokens to nearly their last.
    due = draw.randint(1, max(1, int(0.8 * len(calls) * calls[0].body["max_tokens"])))
    deadline = time.monotonic() + 60
    while sum(reply.events for reply in replies) < due and time.monotonic() < deadline:
        if any(task.done() for task in running):
            break
        await asyncio.sleep(0.001)
    ranks = await asyncio.to_thread(server.ranks)
    if not ranks:
        report.errors["no rank was there to be struck"] += 1
    else:
        with contextlib.suppress(ProcessLookupError):
            os.kill(draw.choice(ranks), number)
        seconds = await asyncio.to_thread(gone, ranks, _GONE_SECONDS)
        if seconds is None:
            report.errors[f"the ranks were still there {_GONE_SECONDS:.0f} s later"] += 1
        else:
            report.seconds_until_gone.append(seconds)
    await asyncio.gather(*running)
    await asyncio.to_thread(server.wait_ready)


async def _greedy(server: Server, seed: str, tokens: int) -> list[Call]:
    model, context = await described(server)
    draw = random.Random(f"{seed}/greedy")
    calls = []
    for _ in range(STREAMS):
        length = draw.randint(1, max(1, min(64, context // 4)))
        prompt = draw.choices(range(10, 250), k=length)
        body = {
            "model": model,
            "prompt": prompt,
            "max_tokens": min(tokens, context - 64),
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
        calls.append(Call(path="/v1/completions", body=body))
    return calls


async def _together(server: Server, calls: Sequence[Call]) -> list[Reply]:
    replies = await asyncio.gather(*(ask(server.target, call) for call in calls))
    for reply in replies:
        if reply.error is not None:
            raise Broken(f"an undisturbed stream failed: {reply.error}")
    return list(replies)


@dataclass(slots=True)
class GoingReport:
    """What became of servers that were told to go, and of what they were answering."""

    sigterms: int = 0
    while_starting: int = 0  # of them, before the server was ready
    codes: Counter[int] = field(default_factory=Counter)
    calls: int = 0
    completed: int = 0
    told: int = 0  # ended with an error that the server sent
    refused: int = 0  # not connected any more
    cut: Counter[str] = field(default_factory=Counter)  # ended without a word
    longest_end: float = 0.0  # seconds from SIGTERM to the exit

    @property
    def kept(self) -> bool:
        """Whether each ended with 0, and told each client what became of its answer."""
        return set(self.codes) <= {0} and not self.cut


def sigterms(
    model: str, options: Sequence[str], log: Path, times: int, *, seed: str, progress: Any = None
) -> GoingReport:
    """Start a server, load it, send SIGTERM at some moment of its life; `times` times."""
    report = GoingReport()
    draw = random.Random(seed)
    for index in range(times):
        starting = index % 4 == 3
        with serving(model, [*options, f"--grace={_GRACE:g}"], log, ready=not starting) as server:
            began = run_async(_going(server, draw, report, starting=starting))
            report.codes[server.wait()] += 1
            report.longest_end = max(report.longest_end, time.monotonic() - began)
        report.sigterms += 1
        report.while_starting += starting
        if progress is not None:
            progress(report)
    return report


async def _going(
    server: Server, draw: random.Random, report: GoingReport, *, starting: bool
) -> float:
    """Load it and send the signal; when that was."""
    running: list[asyncio.Task[Reply]] = []
    if starting:
        await asyncio.sleep(draw.uniform(0.0, 4.0))
    else:
        model, context = await described(server)
        calls = iter(Calls(model, context, str(draw.random())))
        for index in range(STREAMS):
            call = replace(next(calls), events=None, seconds=None)
            if index % 2:  # one that takes longer than the grace period
                body = {"prompt": [10, 11, 12], "ignore_eos": True, "max_tokens": context - 8}
                call = Call(path="/v1/completions", body=body | {"model": model, "stream": True})
            running.append(asyncio.create_task(ask(server.target, call)))
        await asyncio.sleep(draw.uniform(0.0, 1.0))
    server.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    for reply in await asyncio.gather(*running):
        report.calls += 1
        if reply.whole:
            report.completed += 1
        elif reply.told:
            report.told += 1
        elif (reply.error or "").startswith("nothing answers"):
            report.refused += 1
        else:
            report.cut[str(reply.error)] += 1
    return began


@dataclass(slots=True)
class HangUpReport:
    """What clients that hang up leave behind."""

    disconnects: int = 0
    by_stage: Counter[str] = field(default_factory=Counter)
    cancelled: int = 0  # as the server counts them
    left: dict[str, float] = field(default_factory=dict)
    files_before: int = 0  # open descriptors of the server
    files_after: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def kept(self) -> bool:
        """Whether nothing is left of them, and the server answers as before."""
        leaked = self.files_after - self.files_before
        return not any(self.left.values()) and leaked <= 2 and not self.errors


def disconnects(
    server: Server, times: int, *, at_once: int, seed: str, progress: Any = None
) -> HangUpReport:
    """`times` clients that hang up: before, in and after their request, and in the answer."""
    report = HangUpReport()
    draw = random.Random(seed)
    report.files_before = server.processes()[0].files

    async def work() -> None:
        model, context = await described(server)
        gate = asyncio.Semaphore(at_once)

        async def one() -> None:
            async with gate:
                stage = draw.choice(
                    ["connected", "in the head", "in the body", "waiting", "stream"]
                )
                await _hang_up(server, stage, model, context, draw, report)
                report.disconnects += 1
                report.by_stage[stage] += 1
                if progress is not None and report.disconnects % 100 == 0:
                    progress(report)

        async with asyncio.TaskGroup() as group:
            for _ in range(times):
                group.create_task(one())

    before = server.metrics().get(_CANCELLED, 0.0)
    run_async(work())
    report.left = server.wait_idle()
    report.cancelled = int(server.metrics().get(_CANCELLED, 0.0) - before)
    report.files_after = server.processes()[0].files
    calm = run_async(ask(server.target, Call(path="/generate", body={"prompts": ["Hello"]})))
    if calm.error is not None:
        report.errors[calm.error] += 1
    return report


async def _hang_up(
    server: Server,
    stage: str,
    model: str,
    context: int,
    draw: random.Random,
    report: HangUpReport,
) -> None:
    prompt = draw.choices(range(10, 250), k=draw.randint(1, context // 2))
    body: dict[str, Any] = {
        "model": model,
        "prompt": prompt,
        "max_tokens": context // 2 - 1,
        "ignore_eos": True,
    }
    if stage == "stream":
        call = Call(
            path="/v1/completions", body=body | {"stream": True}, events=draw.randint(1, 30)
        )
        reply = await ask(server.target, call)
        if reply.error is not None:
            report.errors[reply.error] += 1
        return
    _, writer = await asyncio.open_connection(server.target.host, server.target.port)
    try:
        content = msgspec.json.encode(body)
        head = (
            "POST /v1/completions HTTP/1.1\r\nhost: soak\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        ).encode()
        match stage:
            case "in the head":
                writer.write(head[: draw.randrange(1, len(head))])
            case "in the body":
                writer.write(head + content[: draw.randrange(len(content))])
            case "waiting":
                writer.write(head + content)
        await asyncio.sleep(draw.uniform(0.0, 0.2))
    finally:
        if draw.random() < 0.5:
            writer.transport.abort()  # a reset
        else:
            writer.close()
