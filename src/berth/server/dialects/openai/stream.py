"""OpenAI's chunks. Everything but the text is written once per choice, when the stream opens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from berth.server.dialect import EVENTS
from berth.server.dialects.openai.errors import ErrorEnvelope, envelope
from berth.server.dialects.openai.render import (
    ChatCompletionChunk,
    ChatLogprobs,
    CompletionChunk,
    Usage,
    chat_logprobs,
    completion_logprobs,
    delta_of,
)
from berth.server.reply import encode
from berth.serving.request import Piece, TokenText, ToolCallDelta

_MARK = "[DONE]"
CHAT_SHAPES = (ChatCompletionChunk, ErrorEnvelope, {"const": _MARK})
COMPLETION_SHAPES = (CompletionChunk, ErrorEnvelope, {"const": _MARK})
CHAT_EVENTS = (
    "The data of each event: the role, then content, then finish_reason of each choice; with "
    "stream_options.include_usage a last one with usage and no choices; then [DONE]. An error in "
    "the middle is an event of its own before it."
)
COMPLETION_EVENTS = (
    "The data of each event: text, and finish_reason in the last of each choice; with "
    "stream_options.include_usage a last one with usage and no choices; then [DONE]. An error in "
    "the middle is an event of its own before it."
)
_DONE = EVENTS.frame(_MARK.encode())
_AFTER = EVENTS.after


class _Chunks:
    """What the two routes' chunks have in common."""

    def __init__(
        self, head: dict[str, object], usage: Callable[[], Usage] | None, logprobs: bool
    ) -> None:
        # Without its closing brace; every chunk goes on from here.
        self._head = EVENTS.before + encode(head)[:-1]
        self._usage = usage
        # With include_usage every chunk but the last says so with a null.
        self._tail = (b',"usage":null}' if usage is not None else b"}") + _AFTER
        self._logprobs = logprobs

    def _choice(self, index: int, inside: bytes) -> bytes:
        return b'%b,"choices":[{"index":%d,%b}]%b' % (self._head, index, inside, self._tail)

    def end(self) -> bytes:
        """The token counts, if they were asked for, and the end mark."""
        if self._usage is None:
            return _DONE
        counts = encode(self._usage())
        return b'%b,"choices":[],"usage":%b}%b%b' % (self._head, counts, _AFTER, _DONE)

    def error(self, error: Exception) -> bytes:
        """OpenAI's envelope inside the stream."""
        return EVENTS.frame(encode(envelope(error))) + _DONE


class ChatChunks(_Chunks):
    """Writes the stream of POST /v1/chat/completions."""

    def __init__(
        self,
        head: dict[str, object],
        choices: int,
        usage: Callable[[], Usage] | None,
        logprobs: bool,
    ) -> None:
        super().__init__(head, usage, logprobs)
        self._begun = [False] * choices
        self._called = [False] * choices
        self._starts = [
            b'%b,"choices":[{"index":%d,"delta":{"content":' % (self._head, index)
            for index in range(choices)
        ]
        self._close = b'},"logprobs":null,"finish_reason":null}]' + self._tail

    def piece(self, index: int, piece: Piece) -> bytes:
        """The chunks of one piece: role before the first, finish_reason after the last."""
        chunks = b""
        if not self._begun[index]:
            self._begun[index] = True
            chunks = self._choice(
                index,
                b'"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null',
            )
        if piece.parts:
            chunks += self._parts(index, piece)
        elif piece.text or piece.logprobs:
            if self._logprobs:
                logprobs = encode(ChatLogprobs(chat_logprobs(piece.logprobs)))
                chunks += self._choice(
                    index,
                    b'"delta":{"content":%b},"logprobs":%b,"finish_reason":null'
                    % (encode(piece.text), logprobs),
                )
            else:
                chunks += self._starts[index] + encode(piece.text) + self._close
        if piece.finish_reason is not None:
            called = self._called[index] and piece.finish_reason == "stop"
            reason = b"tool_calls" if called else piece.finish_reason.encode("ascii")
            chunks += self._choice(
                index, b'"delta":{},"logprobs":null,"finish_reason":"%b"' % reason
            )
        return chunks

    def _parts(self, index: int, piece: Piece) -> bytes:
        """A chunk for each part; the piece's log probabilities come with the first."""
        chunks = b""
        logprobs = b"null"
        if self._logprobs and piece.logprobs:
            logprobs = encode(ChatLogprobs(chat_logprobs(piece.logprobs)))
        for part in piece.parts:
            self._called[index] |= isinstance(part, ToolCallDelta)
            inside = b'"delta":%b,"logprobs":%b,"finish_reason":null'
            chunks += self._choice(index, inside % (encode(delta_of(part)), logprobs))
            logprobs = b"null"
        return chunks


class CompletionChunks(_Chunks):
    """Writes the stream of POST /v1/completions."""

    def __init__(
        self,
        head: dict[str, object],
        choices: int,
        usage: Callable[[], Usage] | None,
        logprobs: bool,
    ) -> None:
        super().__init__(head, usage, logprobs)
        self._offsets = [0] * choices  # characters of the tokens sent, for text_offset
        self._starts = [
            b'%b,"choices":[{"index":%d,"text":' % (self._head, index) for index in range(choices)
        ]

    def piece(self, index: int, piece: Piece) -> bytes:
        """One chunk."""
        logprobs = self._rendered(index, piece.logprobs) if self._logprobs else b"null"
        reason = b"null" if piece.finish_reason is None else b'"%b"' % piece.finish_reason.encode()
        return b'%b%b,"logprobs":%b,"finish_reason":%b}]%b' % (
            self._starts[index],
            encode(piece.text),
            logprobs,
            reason,
            self._tail,
        )

    def _rendered(self, index: int, tokens: Sequence[TokenText]) -> bytes:
        if not tokens:
            return b"null"
        logprobs = encode(completion_logprobs(tokens, self._offsets[index]))
        self._offsets[index] += sum(len(token.text) for token in tokens)
        return logprobs
