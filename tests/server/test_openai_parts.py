"""Reasoning and tool calls, told apart by one more stage after OutputText, in OpenAI's form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from berth.protocol.messages import Delta, SamplingParams, TokenLogprob
from berth.serving.generation import ModelGeneration
from berth.serving.output import Output, OutputText
from berth.serving.prompt import Prompt
from berth.serving.request import (
    Answer,
    FinishReason,
    Options,
    Part,
    Piece,
    Said,
    ToolCallDelta,
)
from server.app_client import AppClient
from server.fake_service import FakeService
from tokenizer.test_detokenize import BYTE_LEVEL

CHAT = "/v1/chat/completions"
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}


class Marked:
    """An `Output` around another: ~ before reasoning, ^ before content, @ before a call's name, and
    $ before its arguments. Every mark stands by itself.
    """

    def __init__(self, inner: Output) -> None:
        self._inner = inner
        self._kind = "^"
        self._call = -1
        self._parts: list[Part] = []
        self._taken = 0
        self.feed, self.echo = inner.feed, inner.echo
        self.end_early, self.has_more = inner.end_early, inner.has_more

    @property
    def tokens(self) -> int:
        return self._inner.tokens

    @property
    def finish_reason(self) -> FinishReason | None:
        return self._inner.finish_reason

    def piece(self) -> Piece:
        piece = self._inner.piece()
        for character in piece.text:
            if character in "~^@$":
                self._kind = character
                self._call += character == "@"
            elif self._kind == "@":
                self._parts.append(ToolCallDelta(self._call, "", f"c{self._call}", character))
            elif self._kind == "$":
                self._parts.append(ToolCallDelta(self._call, character))
            else:
                kind = "reasoning" if self._kind == "~" else "content"
                self._parts.append(Said(kind, character))
        parts = tuple(self._parts[self._taken :])
        self._taken = len(self._parts)
        text = _content(parts)
        return Piece(text, piece.tokens, piece.finish_reason, piece.logprobs, parts)

    def answer(self, prompt_tokens: int, cached_tokens: int) -> Answer:
        self.piece()
        whole = self._inner.answer(prompt_tokens, cached_tokens)
        parts = tuple(self._parts)
        return Answer(
            _content(parts), whole.finish_reason, prompt_tokens, whole.output_tokens, 0,
            whole.logprobs, parts=parts,
        )  # fmt: skip


def _content(parts: Sequence[Part]) -> str:
    return "".join(p.text for p in parts if isinstance(p, Said) and p.kind == "content")


class Thinker(FakeService):
    """Answers with a text, a few of its tokens at a time, through `Marked`."""

    def __init__(self, text: str, at_once: int = 1, reason: FinishReason = "stop") -> None:
        super().__init__()
        self.tokens = BYTE_LEVEL.encode(text, bos=False)
        self.at_once = at_once
        self.reason = reason

    def submit(  # type: ignore[override]
        self, prompt: Prompt, options: Options, *, request_id: str
    ) -> ModelGeneration:
        generation = ModelGeneration(
            1, request_id, prompt, SamplingParams(max_tokens=99), Marked(OutputText(BYTE_LEVEL)),
            now=0.0, echo=False, output_hidden=False, on_end=lambda _: None,
        )  # fmt: skip
        asyncio.get_running_loop().call_soon(self._step, generation, self.tokens, options.logprobs)
        return generation

    def _step(self, generation: ModelGeneration, left: list[int], logprobs: int | None) -> None:
        now, left = left[: self.at_once], left[self.at_once :]
        scores = None if logprobs is None else [TokenLogprob(token, -0.5) for token in now]
        generation.receive(Delta(1, now, None if left else self.reason, scores))
        if left:
            asyncio.get_running_loop().call_soon(self._step, generation, left, logprobs)


ANSWERS = [
    ("~ab^cd", {"content": "cd", "reasoning_content": "ab"}, "stop"),
    ("ab", {"content": "ab"}, "stop"),
    ("~ab", {"content": "", "reasoning_content": "ab"}, "stop"),
    (
        "~a^b@f${}@g$[1]",
        {
            "content": "b",
            "reasoning_content": "a",
            "tool_calls": [
                {"id": "c0", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "c1", "type": "function", "function": {"name": "g", "arguments": "[1]"}},
            ],
        },
        "tool_calls",
    ),
    (
        "@f$",
        {
            "content": None,
            "tool_calls": [
                {"id": "c0", "type": "function", "function": {"name": "f", "arguments": ""}}
            ],
        },
        "tool_calls",
    ),
]


@pytest.mark.parametrize(("text", "message", "reason"), ANSWERS)
def test_a_whole_answer_has_each_kind_in_its_own_field(
    text: str, message: dict[str, Any], reason: str
) -> None:
    with AppClient(Thinker(text)) as client:
        (choice,) = client.post(CHAT, ASKED).json()["choices"]
    assert choice["message"] == {"role": "assistant", "refusal": None, **message}
    assert choice["finish_reason"] == reason


@pytest.mark.parametrize("at_once", [1, 3, 99])
@pytest.mark.parametrize(("text", "message", "reason"), ANSWERS)
def test_a_streams_deltas_put_together_are_the_whole_answer(
    text: str, message: dict[str, Any], reason: str, at_once: int
) -> None:
    with AppClient(Thinker(text, at_once)) as client:
        *chunks, done = client.post(CHAT, {**ASKED, "stream": True}).events()
    assert done == "[DONE]"
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [c["finish_reason"] for c in choices] == [None] * (len(choices) - 1) + [reason]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    said = {"content": "", "reasoning_content": ""}
    calls: dict[int, dict[str, Any]] = {}
    for choice in choices[1:-1]:
        ((kind, added),) = choice["delta"].items()  # each chunk is of one kind
        if kind != "tool_calls":
            said[kind] += added
            continue
        (call,) = added
        known = calls.setdefault(call["index"], {"function": {"name": "", "arguments": ""}})
        known |= {key: call[key] for key in ("id", "type") if key in call}
        for key, value in call["function"].items():
            known["function"][key] += value
    assert said["content"] == (message["content"] or "")
    assert said["reasoning_content"] == message.get("reasoning_content", "")
    assert list(calls.values()) == message.get("tool_calls", [])


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_cut_inside_a_call_says_that_it_was_cut(stream: bool) -> None:
    with AppClient(Thinker('@f${"a', reason="length")) as client:
        answer = client.post(CHAT, {**ASKED, "stream": stream})
    ended = answer.events()[-2] if stream else answer.json()
    assert ended["choices"][0]["finish_reason"] == "length"


def test_log_probabilities_of_every_kind_come_once() -> None:
    with AppClient(Thinker("~a^b@f$", at_once=99)) as client:
        asked = {**ASKED, "logprobs": True}
        whole = client.post(CHAT, asked).json()["choices"][0]["logprobs"]["content"]
        *chunks, _ = client.post(CHAT, {**asked, "stream": True}).events()
    given = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [token for one in given if one for token in one["content"]] == whole
    assert "".join(token["token"] for token in whole) == "~a^b@f$"


def test_dialects_without_a_place_for_other_kinds_show_the_content() -> None:
    dialog = {"input_data": {"input_string": [[{"role": "user", "content": "Hi"}]]}}
    with AppClient(Thinker("~ab^cd")) as client:
        assert client.post("/chat", dialog).json()["results"][0][-1]["content"] == "cd"
        completion = client.post("/v1/completions", {"prompt": "x"}).json()
        assert completion["choices"][0]["text"] == "cd"
    assert json.dumps(completion).count("reasoning") == 0
