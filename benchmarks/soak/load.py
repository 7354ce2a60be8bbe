"""Mixed load for as long as is asked: every length, both dialects, streams and not, shared
beginnings, clients that give up; memory is looked at meanwhile."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from benchmarks.soak.server import Process, Server
from benchmarks.soak.streams import Call, ask
from berth.cli.http_client import send
from berth.cli.load import run_async

_PREFIXES = 8  # beginnings that several prompts share
_TOKENS = range(10, 250)  # ids that every vocabulary has
_LONGEST_ANSWER = 256  # tokens
_GIVES_UP = 0.1  # of the calls
_WORDS = ["tide", "anchor", "rope", "mast", "cargo", "crane", "north", "pilot", "wharf", "sail"]


class Calls:
    """An endless, seeded mix of calls for a model of `context` tokens."""

    def __init__(self, model: str, context: int, seed: str) -> None:
        self._model = model
        self._context = context
        self._draw = random.Random(seed)
        self._shared = [
            self._draw.choices(_TOKENS, k=self._draw.randint(16, max(16, context // 2)))
            for _ in range(_PREFIXES)
        ]
        self.lengths: set[int] = set()  # of the prompts given as tokens

    def __iter__(self) -> Iterator[Call]:
        makers = (self._tokens, self._tokens, self._text, self._chat, self._kaito, self._kaito_chat)
        while True:
            yield self._draw.choice(makers)()

    def _tokens(self) -> Call:
        """Any length from one token to nearly the whole context, short ones more often."""
        longest = self._context - 1
        length = round(math.exp(self._draw.uniform(0, math.log(longest))))
        if self._draw.random() < 0.3:
            length = self._draw.randint(1, longest)
        prompt = self._draw.choices(_TOKENS, k=length)
        if self._draw.random() < 0.5:
            shared = self._draw.choice(self._shared)
            prompt[: len(shared)] = shared[:length]
        self.lengths.add(length)
        answer = self._draw.randint(1, min(_LONGEST_ANSWER, self._context - length))
        body = {"prompt": prompt, "max_tokens": answer, **self._sampling()}
        return self._call("/v1/completions", body | {"ignore_eos": self._draw.random() < 0.8})

    def _text(self) -> Call:
        texts = [self._words() for _ in range(self._draw.randint(1, 3))]
        body = {"prompt": texts, "max_tokens": self._short_answer(), **self._sampling()}
        return self._call("/v1/completions", body, choices=len(texts))

    def _chat(self) -> Call:
        messages = [{"role": "user", "content": self._words()}]
        body = {"messages": messages, "max_tokens": self._short_answer(), **self._sampling()}
        return self._call("/v1/chat/completions", body)

    def _kaito(self) -> Call:
        prompts = [self._words() for _ in range(self._draw.randint(1, 4))]
        parameters = {"max_gen_len": self._short_answer(), **self._sampling()}
        body = {"prompts": prompts, "parameters": parameters}
        return self._call("/generate", body, choices=len(prompts))

    def _kaito_chat(self) -> Call:
        dialogs = [
            [{"role": "user", "content": self._words()}] for _ in range(self._draw.randint(1, 2))
        ]
        parameters = {"max_gen_len": self._short_answer(), **self._sampling()}
        body = {"input_data": {"input_string": dialogs}, "parameters": parameters}
        return self._call("/chat", body, choices=len(dialogs))

    def _call(self, path: Any, body: dict[str, Any], *, choices: int = 1) -> Call:
        if path.startswith("/v1"):
            body = {"model": self._model, **body}
        events = seconds = None
        if stream := self._draw.random() < 0.6:
            body = body | {"stream": True}
        if self._draw.random() < _GIVES_UP:
            if stream and self._draw.random() < 0.7:
                events = self._draw.randint(1, 20)
            else:
                seconds = self._draw.uniform(0.005, 1.0)
        return Call(path=path, body=body, choices=choices, events=events, seconds=seconds)

    def _sampling(self) -> dict[str, Any]:
        if self._draw.random() < 0.5:
            return {"temperature": 0}
        return {"temperature": 0.8, "top_p": 0.95, "seed": self._draw.randrange(2**31)}

    def _short_answer(self) -> int:
        return self._draw.randint(1, max(1, min(_LONGEST_ANSWER, self._context // 4)))

    def _words(self) -> str:
        # A word is a few tokens; templates add their own.
        return " ".join(self._draw.choices(_WORDS, k=self._draw.randint(1, self._context // 16)))


@dataclass(frozen=True, slots=True)
class Sample:
    """The server's processes at one moment."""

    minute: float
    processes: tuple[Process, ...]

    def rss(self, role: str) -> int:
        """Of all processes of that role, bytes."""
        return sum(process.rss for process in self.processes if process.role == role)

    @property
    def all_rss(self) -> int:
        return sum(process.rss for process in self.processes)


@dataclass(slots=True)
class LoadReport:
    """What happened under load."""

    requests: int = 0
    streams: int = 0
    gave_up: int = 0
    answers: int = 0
    lengths: int = 0  # different lengths of prompts
    errors: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    left: dict[str, float] = field(default_factory=dict)  # gauges when all had ended
    seconds: float = 0.0

    def growth(self, role: str | None = None) -> float | None:
        """Of resident memory, from the first sample to the last, as a share."""
        if len(self.samples) < 2:
            return None
        first, last = self.samples[0], self.samples[-1]
        before = first.all_rss if role is None else first.rss(role)
        after = last.all_rss if role is None else last.rss(role)
        return after / before - 1 if before else None

    @property
    def kept(self) -> bool:
        """Whether no request failed and nothing was left over."""
        return not self.errors and not any(self.left.values())


def mixed_load(
    server: Server,
    *,
    seconds: float,
    streams: int,
    seed: str,
    sample_seconds: float = 60.0,
    on_sample: Callable[[Sample], None] | None = None,
) -> LoadReport:
    """Keep `streams` calls running for `seconds`."""
    report = LoadReport()
    began = time.monotonic()

    async def sample() -> None:
        number = 0
        while True:
            number += 1
            await asyncio.sleep(began + number * sample_seconds - time.monotonic())
            taken = Sample((time.monotonic() - began) / 60, tuple(server.processes()))
            report.samples.append(taken)
            if on_sample is not None:
                on_sample(taken)

    async def client(calls: Iterator[Call]) -> None:
        while time.monotonic() - began < seconds:
            call = next(calls)
            reply = await ask(server.target, call)
            report.requests += 1
            report.streams += call.is_stream
            report.answers += len(reply.finished)
            report.gave_up += reply.hung_up
            if not reply.whole:
                report.errors[f"{call.path}: {reply.error}"] += 1

    async def work() -> None:
        model, context = await described(server)
        calls = Calls(model, context, seed)
        endless = iter(calls)
        sampling = asyncio.create_task(sample())
        async with asyncio.TaskGroup() as group:
            for _ in range(streams):
                group.create_task(client(endless))
        sampling.cancel()
        report.lengths = len(calls.lengths)

    run_async(work())
    report.seconds = time.monotonic() - began
    report.left = server.wait_idle()
    return report


async def described(server: Server) -> tuple[str, int]:
    """The served model's name and its context in tokens."""
    async with send(server.target, "GET", "/v1/models") as answer:
        listing = msgspec.json.decode(await answer.read())
    model = listing["data"][0]
    return model["id"], model["max_model_len"]
