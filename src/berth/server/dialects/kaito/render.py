"""KAITO's answers, whole and streamed.

A stream is server-sent events, each `data: ` and one JSON object; the seed's images had none, so
the shape is ours. /generate sends `{"index": i, "response": "…"}` and /chat sends
`{"index": i, "content": "…"}`, where `index` is the place of the prompt or dialog in the request
and the texts of one index concatenated are its answer. The last event of an index has
`finish_reason` ("stop" or "length") beside its text. Then comes `data: [DONE]`. A stream that
breaks sends `{"detail": "…"}` before it. Nothing is sent twice: there is no event with the whole
results.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from berth.server.dialect import EVENTS, Detail
from berth.server.dialects.kaito.errors import detail
from berth.server.dialects.kaito.parse import DialogMessage
from berth.server.reply import encode
from berth.serving.chat_template import UNSAFE_ERROR
from berth.serving.request import Answer, Piece

EVENTS_IN_WORDS = (
    "The data of each event: a text with the index of its prompt or dialog, the last of an index "
    "with finish_reason; then [DONE]. An error in the middle is an event of its own before it."
)
_MARK = "[DONE]"
_DONE = EVENTS.frame(_MARK.encode())


class GeneratedText(msgspec.Struct, frozen=True):
    """A prompt and what follows it."""

    prompt: str
    response: str


class GenerateResponse(msgspec.Struct, frozen=True):
    """One completion per prompt, in their order."""

    results: list[GeneratedText]


class AnsweredMessage(msgspec.Struct, frozen=True):
    """One turn of an answered dialog."""

    role: str
    content: str


class ChatResponse(msgspec.Struct, frozen=True):
    """Each dialog, roles capitalised, with the assistant's answer as its last message."""

    results: list[list[AnsweredMessage]]


class GenerateEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message of the stream of a continued prompt; `index` counts the prompts or sequences."""

    index: int
    response: str
    finish_reason: Literal["stop", "length"] | None = None


class ChatEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message of the stream of answered dialogs; `index` counts the dialogs."""

    index: int
    content: str
    finish_reason: Literal["stop", "length"] | None = None


GENERATE_SHAPES = (GenerateEvent, Detail, {"const": _MARK})
CHAT_SHAPES = (ChatEvent, Detail, {"const": _MARK})


def completions(prompts: list[str], answers: list[Answer]) -> GenerateResponse:
    """The body of POST /generate."""
    pairs = zip(prompts, answers, strict=True)
    return GenerateResponse([GeneratedText(prompt, answer.text) for prompt, answer in pairs])


def dialogs(asked: list[list[DialogMessage]], replies: list[str]) -> ChatResponse:
    """The body of POST /chat."""
    return ChatResponse(
        [
            [
                *(AnsweredMessage(turn.role.capitalize(), turn.content) for turn in dialog),
                AnsweredMessage("Assistant", reply),
            ]
            for dialog, reply in zip(asked, replies, strict=True)
        ]
    )


class Events:
    """Writes the stream of one call. `places` maps a generation to its index in the request."""

    def __init__(self, text_field: str, places: list[int], preface: bytes = b"") -> None:
        self._starts = [
            EVENTS.before + f'{{"index":{place},"{text_field}":'.encode("ascii") for place in places
        ]
        self._preface = preface

    def piece(self, index: int, piece: Piece) -> bytes:
        """One event."""
        text = encode(piece.text)
        if piece.finish_reason is None:
            event = b"%b%b}" % (self._starts[index], text)
        else:
            reason = piece.finish_reason.encode("ascii")
            event = b'%b%b,"finish_reason":"%b"}' % (self._starts[index], text, reason)
        event += EVENTS.after
        if self._preface:
            event, self._preface = self._preface + event, b""
        return event

    def end(self) -> bytes:
        """The mark after the last answer."""
        return _DONE

    def error(self, error: Exception) -> bytes:
        """Why the stream ends early."""
        return EVENTS.frame(encode({"detail": detail(error)})) + _DONE


def whole_events(text_field: str, answers: list[Answer]) -> bytes:
    """A stream of answers that are known at once."""
    events = [
        {"index": index, text_field: answer.text, "finish_reason": answer.finish_reason}
        for index, answer in enumerate(answers)
    ]
    return b"".join(EVENTS.frame(encode(event)) for event in events) + _DONE


def unsafe_events(places: list[int], *, end: bool = False) -> bytes:
    """The events of dialogs that are refused for their special tags; `end`: they are all."""
    events = [ChatEvent(place, UNSAFE_ERROR, "stop") for place in places]
    return b"".join(EVENTS.frame(encode(event)) for event in events) + (_DONE if end else b"")
