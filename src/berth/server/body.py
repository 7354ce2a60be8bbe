"""Reading a request's body: so many bytes, so many seconds, and JSON of exactly one shape.

msgspec decodes straight into the route's struct, which is also what the OpenAPI page shows. It
takes neither NaN nor Infinity, neither broken UTF-8 nor half surrogate pairs, and nesting beyond
the interpreter's limit raises instead of crashing. Here those refusals become sentences that
name the field.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import re
from typing import Any, NoReturn, TypeVar

import msgspec
from starlette.types import Receive, Scope

from berth.server.body_limits import BodyLimits, BodyShare, ValueCounter, limits_of
from berth.server.content_encoding import Unpacker, unpacker_of
from berth.server.context import Server
from berth.server.errors import BodyTooLarge, BodyTooSlow, ClientGone, Malformed, dotted

T = TypeVar("T")

# A second, slower look at malformed JSON, to name what is wrong with it, is not worth more.
_MAX_DIAGNOSED_BYTES = 256 * 1024

LARGE_BODY = 128 * 1024  # bytes from which on a body is decoded in a thread
# A body of fewer bytes is decoded in 3 ms, whatever it holds.
_SMALL = 32 * 1024

_TYPE_NAMES = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


async def read_body(server: Server, scope: Scope, receive: Receive) -> bytes:
    """The whole body, unpacked, without the byte-order mark that some editors put before JSON.

    Raises:
        BodyTooLarge: more bytes (announced, counted or unpacked) or more JSON values than one
            body may hold; see body_limits.
        TooManyBodies: too many large bodies are being read.
        UnknownEncoding, Malformed: it is packed, and not in a way that is read here.
        BodyTooSlow: not complete after `body_timeout_seconds`.
        ClientGone: the client hung up before it was complete.
    """
    settings = server.settings
    limits = limits_of(settings.max_body_bytes, server.models.max_model_len)
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value[:20]) > limits.bytes:
            raise _too_large(limits)
    unpacker = unpacker_of(scope["headers"])
    try:
        async with asyncio.timeout(settings.body_timeout_seconds):
            with server.bodies.reading() as share:
                body = await _read(receive, limits, unpacker, share)
            return body.removeprefix(codecs.BOM_UTF8)
    except TimeoutError:
        raise BodyTooSlow(
            f"The request's body did not arrive within {settings.body_timeout_seconds:g} seconds."
        ) from None


async def _read(
    receive: Receive, limits: BodyLimits, unpacker: Unpacker | None, share: BodyShare
) -> bytes:
    chunks: list[bytes] = []
    received = size = counted = 0
    counter = ValueCounter()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        received += len(chunk)
        for part in (chunk,) if unpacker is None else unpacker.feed(chunk):
            size += len(part)
            if max(received, size) > limits.bytes:
                raise _too_large(limits)
            share.add(len(part))
            chunks.append(part)
            if unpacker is not None:
                await asyncio.sleep(0)  # a slice costs milliseconds: the others' turn
            if size > _SMALL:
                # The first piece of a large body was not counted when it came.
                await _count(counter, b"".join(chunks) if counted == 0 else part, limits)
                counted = size
        if not message.get("more_body", False):
            if unpacker is not None:
                unpacker.finish()
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _count(counter: ValueCounter, part: bytes, limits: BodyLimits) -> None:
    for _ in counter.feed(part):
        if counter.values > limits.values or counter.entries > limits.numbers:
            raise BodyTooLarge(
                limits.explained(
                    "The request's body holds more values than this server takes: at most "
                    f"{limits.values} lists, objects and strings, and {limits.numbers} numbers."
                )
            )
        await asyncio.sleep(0)


def _too_large(limits: BodyLimits) -> BodyTooLarge:
    return BodyTooLarge(
        limits.explained(
            f"The request's body is larger than this server takes ({limits.bytes} bytes)."
        )
    )


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """The body as the decoder's type. Raises Malformed."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _wrong_shape(str(error)) from None
    except UnicodeDecodeError:
        raise Malformed("The body is not valid UTF-8.", kind="json_invalid") from None
    except RecursionError:
        raise Malformed("The body's JSON is nested too deeply.", kind="json_invalid") from None
    except msgspec.DecodeError as error:
        _not_json(body, str(error))


_LOCATED = re.compile(r"^(?P<what>.*?)(?: - at (?:`key` in )?`\$(?P<path>[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<field>[^`]+)`$")
_MISTYPED = re.compile(r"^Expected `(?P<expected>[^`]+)`, got `(?P<got>[^`]+)`$")
_RANGE = re.compile(r"^Expected `(?P<expected>[^`]+)` (?P<relation>[<>]=?) (?P<bound>\S+)$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")


def _wrong_shape(text: str) -> Malformed:
    """msgspec's message as ours: the field first, then what would be right."""
    located = _LOCATED.match(text)
    assert located is not None  # every part of the pattern is optional
    what, path = located["what"], located["path"] or ""
    location: tuple[str | int, ...] = tuple(
        step[1] or int(step[2]) for step in _STEP.finditer(path) if step[1] or step[2]
    )
    if missing := _MISSING.match(what):
        location = (*location, missing["field"])
        return Malformed(f"{dotted(location)} is required.", location, "missing")
    name = dotted(location) or "The body"
    if mistyped := _MISTYPED.match(what):
        inside = "every key of " if "`key` in" in text else ""
        message = f"{inside}{name} must be {_named(mistyped['expected'])}, not "
        return Malformed(f"{message}{_named(mistyped['got'])}.", location, "type_error")
    if bounds := _RANGE.match(what):
        relation = {">=": "at least", "<=": "at most", ">": "above", "<": "below"}
        message = f"{name} must be {relation[bounds['relation']]} {bounds['bound']}."
        return Malformed(message, location, "value_error")
    return Malformed(f"{name}: {what}.", location, "value_error")


def _named(types: str) -> str:
    return " or ".join(_TYPE_NAMES.get(name, name) for name in types.split(" | "))


class _NotANumber:
    """Takes the place of NaN, Infinity or -Infinity, which JSON does not have."""


def _not_json(body: bytes, reason: str) -> NoReturn:
    """Find out why a body is no JSON, and say it."""
    if not body.strip():
        raise Malformed("The body is empty; it must be a JSON object.", kind="json_invalid")
    if len(body) <= _MAX_DIAGNOSED_BYTES:
        try:
            tree = json.loads(body, parse_constant=lambda _: _NotANumber())
        except (ValueError, RecursionError):
            tree = None  # malformed for Python's parser too: msgspec's reason says where
        culprit = _culprit(tree)
        if culprit is not None:
            location, complaint = culprit
            name = dotted(location) or "The body"
            raise Malformed(f"{name} {complaint}.", location, "value_error")
    raise Malformed(f"The body is not valid JSON: {reason}.", kind="json_invalid")


def _culprit(tree: Any) -> tuple[tuple[str | int, ...], str] | None:
    """The first value that Python's lenient parser took and JSON does not have."""
    pending: list[tuple[tuple[str | int, ...], Any]] = [((), tree)]
    while pending:
        location, value = pending.pop()
        if isinstance(value, _NotANumber):
            return location, "must be a finite number; JSON has no NaN or Infinity"
        if isinstance(value, str) and not _encodable(value):
            return location, "holds half a surrogate pair, which is no Unicode text"
        if isinstance(value, dict):
            if not all(_encodable(key) for key in value):
                return location, "has a key with half a surrogate pair, which is no Unicode text"
            pending.extend(((*location, key), item) for key, item in value.items())
        elif isinstance(value, list):
            pending.extend(((*location, index), item) for index, item in enumerate(value))
    return None


def _encodable(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
