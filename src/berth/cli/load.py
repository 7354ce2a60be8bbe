"""The load client: sends completions to a server and notes when the parts of each answer arrive.

Times are perf_counter seconds. A request's clock starts before its connection is opened; in an
open loop it starts when the request was due, so that a client that falls behind hides nothing.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import msgspec

from berth.cli.http_client import (
    BrokenAnswer,
    ClientError,
    Refused,
    Response,
    Target,
    error_sentence,
    send,
)

Dialect = Literal["openai", "kaito"]
Prompt = str | list[int]
T = TypeVar("T")

# Ids below this are control and byte tokens in most vocabularies.
_FIRST_TOKEN_ID = 10
_WORDS = [
    "berth",
    "ship",
    "quay",
    "tide",
    "anchor",
    "harbour",
    "rope",
    "mast",
    "cargo",
    "crane",
    "north",
    "pilot",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What all requests of a run have in common."""

    dialect: Dialect = "openai"
    model: str | None = None
    output_tokens: int = 128
    ignore_eos: bool = True
    headers: dict[str, str] = field(default_factory=dict, repr=False)  # may hold a key
    timeout: float = 600.0  # seconds for one request


@dataclass(slots=True)
class Outcome:
    """What became of one request."""

    started: float
    ended: float = 0.0
    error: str | None = None
    arrivals: list[float] = field(default_factory=list)  # of each event that carried output
    output_tokens: int | None = None  # None if neither the server nor the stream tells
    prompt_tokens: int | None = None
    counted_events: bool = False  # output_tokens is the number of events


@dataclass(frozen=True, slots=True)
class Run:
    """All requests of one run."""

    outcomes: list[Outcome]
    seconds: float  # from the first start to the last end
    client_cpu_seconds: float  # of this process, all threads


def make_prompts(
    count: int, tokens: int, *, seed: str, vocab_size: int, as_text: bool
) -> list[Prompt]:
    """Random prompts, no two with a beginning in common, the same ones for the same seed.

    Args:
        tokens: length of each; for text the number of words, which is near the number of tokens.
        vocab_size: ids are drawn below this.
    """
    prompts: list[Prompt] = []
    for index in range(count):
        draw = random.Random(f"{seed}/{index}")
        if as_text:
            first = f"{draw.randrange(10**6)}"
            prompts.append(" ".join([first, *draw.choices(_WORDS, k=tokens - 1)]))
        else:
            low = min(_FIRST_TOKEN_ID, vocab_size // 2)
            prompts.append(draw.choices(range(low, vocab_size), k=tokens))
    return prompts


def run_async(work: Coroutine[None, None, T]) -> T:
    """Run `work` on uvloop if it is installed (half the CPU per event), else on asyncio."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)


async def closed_loop(
    target: Target,
    ask: Ask,
    prompts: Sequence[Prompt],
    concurrency: int,
    on_done: Callable[[], None] | None = None,
) -> Run:
    """`concurrency` clients, each of which sends its next request when the last has ended."""
    waiting = iter(prompts)
    outcomes: list[Outcome] = []

    async def client() -> None:
        for prompt in waiting:
            outcomes.append(await _request(target, ask, prompt, time.perf_counter()))
            if on_done is not None:
                on_done()

    cpu = time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(prompts))):
            group.create_task(client())
    return _run(outcomes, cpu)


async def open_loop(
    target: Target,
    ask: Ask,
    prompts: Sequence[Prompt],
    rate: float,
    seed: str,
    on_done: Callable[[], None] | None = None,
) -> Run:
    """Requests that arrive as a Poisson process of `rate` per second, whatever is still running."""
    draw = random.Random(f"{seed}/arrivals")
    outcomes: list[Outcome] = []

    async def one(prompt: Prompt, due: float) -> None:
        outcomes.append(await _request(target, ask, prompt, due))
        if on_done is not None:
            on_done()

    cpu = time.process_time()
    due = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for prompt in prompts:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(prompt, due))
            due += draw.expovariate(rate)
    return _run(outcomes, cpu)


def _run(outcomes: list[Outcome], cpu: float) -> Run:
    used = time.process_time() - cpu
    seconds = max(o.ended for o in outcomes) - min(o.started for o in outcomes)
    return Run(outcomes, seconds, used)


async def _request(target: Target, ask: Ask, prompt: Prompt, started: float) -> Outcome:
    outcome = Outcome(started)
    path, body = _body(ask, prompt)
    read = _read_openai if ask.dialect == "openai" else _read_kaito
    try:
        async with (
            asyncio.timeout(ask.timeout),
            send(target, "POST", path, body=body, headers=ask.headers) as response,
        ):
            await response.refuse_errors()
            await read(response, outcome, ask)
    except TimeoutError:
        outcome.error = f"no end within {ask.timeout:g} s"
    except ClientError as error:
        outcome.error = str(error)
    except msgspec.DecodeError:
        outcome.error = "the server's answer is not of the dialect's shape"
    outcome.ended = time.perf_counter()
    return outcome


def _body(ask: Ask, prompt: Prompt) -> tuple[str, bytes]:
    """Path and body of one request."""
    if ask.dialect == "kaito":
        parameters = {"max_gen_len": ask.output_tokens, "temperature": 0}
        kaito = {"prompts": [prompt], "parameters": parameters, "stream": True}
        return "/generate", msgspec.json.encode(kaito)
    body: dict[str, object] = {
        "prompt": prompt,
        "max_tokens": ask.output_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if ask.model is not None:
        body["model"] = ask.model
    if ask.ignore_eos:
        body["ignore_eos"] = True
        body["min_tokens"] = ask.output_tokens
    return "/v1/completions", msgspec.json.encode(body)


class _Choice(msgspec.Struct):
    text: str = ""


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Event(msgspec.Struct):
    """KAITO's event, in Berth's stream."""

    response: str | None = None
    finish_reason: str | None = None
    detail: str | None = None


_chunk = msgspec.json.Decoder(_Chunk).decode
_event = msgspec.json.Decoder(_Event).decode


async def _read_openai(response: Response, outcome: Outcome, ask: Ask) -> None:
    """Note the events of /v1/completions. Raises ClientError, msgspec.DecodeError."""
    if not response.is_event_stream:
        raise BrokenAnswer("the server does not stream")
    arrivals, complete = outcome.arrivals, False
    async for batch in response.event_batches():
        now = time.perf_counter()
        for data in batch:
            if data == b"[DONE]":
                complete = True  # the body's end follows; hanging up on it would look like a cancel
                continue
            chunk = _chunk(data)
            if bytes(chunk.error) not in (b"", b"null"):
                raise Refused(0, error_sentence(data, response.status))
            if chunk.choices:
                arrivals.append(now)
            if chunk.usage is not None:
                outcome.output_tokens = chunk.usage.completion_tokens
                outcome.prompt_tokens = chunk.usage.prompt_tokens
    _finish(outcome, complete)


async def _read_kaito(response: Response, outcome: Outcome, ask: Ask) -> None:
    """Note the events of /generate, or the whole answer of a server that does not stream."""
    if not response.is_event_stream:
        await response.read()
        return
    ended, complete = None, False
    async for batch in response.event_batches():
        now = time.perf_counter()
        for data in batch:
            if data == b"[DONE]":
                complete = True
                continue
            event = _event(data)
            if event.detail is not None:
                raise Refused(0, error_sentence(data, response.status))
            if event.response is not None:
                outcome.arrivals.append(now)
                ended = event.finish_reason
    if ended == "length":  # the dialect counts no tokens, but this says how many
        outcome.output_tokens = ask.output_tokens
    _finish(outcome, complete)


def _finish(outcome: Outcome, complete: bool) -> None:
    if not complete:
        raise BrokenAnswer("the stream ended without its end mark")
    if outcome.output_tokens is None:
        outcome.output_tokens = len(outcome.arrivals)
        outcome.counted_events = True
