"""One request of the soak: sent, read to its end or to where its client hangs up, and judged."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from berth.cli.http_client import ClientError, Target, error_sentence, send

Path = Literal["/v1/completions", "/v1/chat/completions", "/generate", "/chat"]
_TIMEOUT = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is asked for."""

    path: Path
    body: dict[str, Any]
    choices: int = 1  # prompts or dialogs, each of which has its own answer
    events: int | None = None  # of a stream: the client hangs up after so many
    seconds: float | None = None  # the client hangs up after so long

    @property
    def is_stream(self) -> bool:
        return bool(self.body.get("stream"))


@dataclass(slots=True)
class Reply:
    """What came of it."""

    texts: list[str]
    finished: set[int] = field(default_factory=set)  # choices that have a finish reason
    events: int = 0
    done: bool = False  # a stream's [DONE], or the whole body
    hung_up: bool = False  # by us
    error: str | None = None  # a sentence; None: none
    told: bool = False  # the error came from the server itself, as a status or an error event
    longest_gap: float = 0.0  # seconds between two events
    ended: float = 0.0

    @property
    def whole(self) -> bool:
        """Complete, or given up by its own client."""
        return self.error is None and (self.hung_up or self.done)


async def ask(target: Target, call: Call, reply: Reply | None = None) -> Reply:
    """Send it and read the answer. `reply` is filled while the answer comes."""
    reply = reply if reply is not None else Reply([""] * call.choices)
    body = msgspec.json.encode(call.body)
    try:
        async with asyncio.timeout(min(call.seconds or _TIMEOUT, _TIMEOUT)):
            async with send(target, "POST", call.path, body=body) as answer:
                if answer.status != 200:
                    reply.told = True
                    said = error_sentence(await answer.read(), answer.status)
                    reply.error = said
                elif call.is_stream:
                    await _read_events(answer.event_batches(), call, reply)
                else:
                    _take(msgspec.json.decode(await answer.read()), reply)
                    reply.done = True
    except TimeoutError:
        reply.hung_up = call.seconds is not None
        reply.error = None if reply.hung_up else f"no end within {_TIMEOUT:g} s"
    except ClientError as error:
        reply.error = str(error)
    except (msgspec.DecodeError, KeyError, IndexError, TypeError) as error:
        reply.error = f"the answer is not of the dialect's shape: {type(error).__name__}"
    reply.ended = time.monotonic()
    if reply.error is None and not reply.hung_up:
        reply.error = _what_is_missing(call, reply)
    return reply


async def _read_events(batches: Any, call: Call, reply: Reply) -> None:
    last = None
    async for batch in batches:
        now = time.monotonic()
        if last is not None:
            reply.longest_gap = max(reply.longest_gap, now - last)
        last = now
        for event in batch:
            if event == b"[DONE]":
                reply.done = True
                continue
            _take(msgspec.json.decode(event), reply)
            reply.events += 1
        if reply.told:
            return
        if call.events is not None and reply.events >= call.events and not reply.done:
            reply.hung_up = True
            return


def _take(body: Any, reply: Reply) -> None:
    """One event of a stream, or a whole answer, of whichever dialect."""
    if "error" in body or "detail" in body:
        reply.told, reply.error = True, str(body.get("error") or body.get("detail"))
    elif "choices" in body:
        for choice in body["choices"]:
            part = choice.get("text")
            if part is None:
                said = choice.get("delta") or choice.get("message") or {}
                part = said.get("content") or ""
            _add(reply, choice["index"], part, choice["finish_reason"])
    elif "results" in body:
        for index, result in enumerate(body["results"]):
            said = result[-1]["content"] if isinstance(result, list) else result["response"]
            _add(reply, index, said, "stop")
    elif "index" in body:
        part = body.get("response", body.get("content", ""))
        _add(reply, body["index"], part, body.get("finish_reason"))


def _add(reply: Reply, index: int, part: str, reason: str | None) -> None:
    reply.texts[index] += part
    if reason is not None:
        reply.finished.add(index)


def _what_is_missing(call: Call, reply: Reply) -> str | None:
    if not reply.done:
        return "the stream ended without [DONE]"
    if len(reply.finished) < call.choices:
        return f"{call.choices - len(reply.finished)} answers have no finish reason"
    return None
