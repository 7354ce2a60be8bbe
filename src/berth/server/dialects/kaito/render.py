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

import msgspec

from berth.server.dialects.kaito.parse import DialogMessage
from berth.server.errors import kaito_detail
from berth.server.reply import encode
from berth.serving.chat_template import UNSAFE_ERROR
from berth.serving.request import Answer, Piece

GENERATE_EVENTS = (
    'Events `data: {"index": 0, "response": "…"}`; the last of an index also has '
    '"finish_reason". At the end `data: [DONE]`; before it `data: {"detail": "…"}` on an error.'
)
CHAT_EVENTS = GENERATE_EVENTS.replace('"response"', '"content"')


class GeneratedText(msgspec.Struct, frozen=True):
    """A prompt and what follows it."""

    prompt: str
    response: str


class GenerateResponse(msgspec.Struct, frozen=True):
    """One completion per prompt, in their order."""

    results: list[GeneratedText]


class ChatResponse(msgspec.Struct, frozen=True):
    """Each dialog, roles capitalised, with the assistant's answer as its last message."""

    results: list[list[DialogMessage]]


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field, as FastAPI writes it."""

    type: str
    loc: list[str | int]
    msg: str


class ValidationErrors(msgspec.Struct, frozen=True):
    """The body is not of the route's shape."""

    detail: list[FieldError]


class Detail(msgspec.Struct, frozen=True):
    """Why a request failed."""

    detail: str


def completions(prompts: list[str], answers: list[Answer]) -> GenerateResponse:
    """The body of POST /generate."""
    pairs = zip(prompts, answers, strict=True)
    return GenerateResponse([GeneratedText(prompt, answer.text) for prompt, answer in pairs])


def dialogs(asked: list[list[DialogMessage]], replies: list[str]) -> ChatResponse:
    """The body of POST /chat."""
    return ChatResponse(
        [
            [
                *(DialogMessage(turn.role.capitalize(), turn.content) for turn in dialog),
                DialogMessage("Assistant", reply),
            ]
            for dialog, reply in zip(asked, replies, strict=True)
        ]
    )


class Events:
    """Writes the stream of one call. `places` maps a generation to its index in the request."""

    def __init__(self, text_field: str, places: list[int], preface: bytes = b"") -> None:
        self._starts = [
            f'data: {{"index":{place},"{text_field}":'.encode("ascii") for place in places
        ]
        self._preface = preface

    def piece(self, index: int, piece: Piece) -> bytes:
        """One event."""
        text = encode(piece.text)
        if piece.finish_reason is None:
            event = b"%b%b}\n\n" % (self._starts[index], text)
        else:
            reason = piece.finish_reason.encode("ascii")
            event = b'%b%b,"finish_reason":"%b"}\n\n' % (self._starts[index], text, reason)
        if self._preface:
            event, self._preface = self._preface + event, b""
        return event

    def end(self) -> bytes:
        """The mark after the last answer."""
        return b"data: [DONE]\n\n"

    def error(self, error: Exception) -> bytes:
        """Why the stream ends early."""
        return b"data: %b\n\ndata: [DONE]\n\n" % encode({"detail": kaito_detail(error)})


def whole_events(text_field: str, answers: list[Answer]) -> bytes:
    """A stream of answers that are known at once."""
    events = [
        {"index": index, text_field: answer.text, "finish_reason": answer.finish_reason}
        for index, answer in enumerate(answers)
    ]
    return b"".join(b"data: %b\n\n" % encode(event) for event in events) + b"data: [DONE]\n\n"


def unsafe_events(places: list[int]) -> bytes:
    """The events of dialogs that are refused for their special tags."""
    return b"".join(
        b"data: %b\n\n" % encode({"index": place, "content": UNSAFE_ERROR, "finish_reason": "stop"})
        for place in places
    )
