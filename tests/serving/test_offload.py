"""Encoding a large text leaves the event loop to everybody else."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import cast

import pytest
from helpers import run

from berth.serving.errors import InvalidRequest
from berth.serving.offload import LARGE_CHARACTERS, encode, encode_all, render_chat
from berth.serving.prompt import Prompt
from berth.serving.request import ChatOptions, Message
from berth.serving.service import Service


class Encoder:
    """Tells in which thread it was called; refuses texts that end in "!"."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def encode(self, text: str) -> Prompt:
        self.threads.append(threading.current_thread())
        if text.endswith("!"):
            raise InvalidRequest("no")
        return Prompt([len(text)])

    def render_chat(self, messages: Sequence[Message], options: ChatOptions) -> Prompt:
        return self.encode("".join(message.text for message in messages))


@pytest.mark.parametrize(
    ("size", "here"), [(10, True), (LARGE_CHARACTERS, True), (LARGE_CHARACTERS + 1, False)]
)
def test_only_large_texts_go_to_a_thread(size: int, here: bool) -> None:
    async def main() -> None:
        encoder = Encoder()
        service = cast(Service, encoder)
        assert await encode(service, "x" * size) == Prompt([size])
        assert await encode_all(service, ["x" * (size - 3), "xxx"]) == [
            Prompt([size - 3]),
            Prompt([3]),
        ]
        rest = max(size - 128, 2)  # a message costs something beside its text
        halves = [Message("user", "x" * (rest // 2)), Message("user", "x" * (rest - rest // 2))]
        assert await render_chat(service, halves) == Prompt([rest])
        assert {thread is threading.main_thread() for thread in encoder.threads} == {here}

    run(main())


def test_many_empty_messages_go_to_a_thread() -> None:
    async def main() -> None:
        encoder = Encoder()
        assert await render_chat(cast(Service, encoder), [Message("user", "")] * 1000) == Prompt(
            [0]
        )
        assert encoder.threads[0] is not threading.main_thread()

    run(main())


def test_a_refusal_comes_back_from_the_thread() -> None:
    async def main() -> None:
        with pytest.raises(InvalidRequest):
            await encode(cast(Service, Encoder()), "x" * LARGE_CHARACTERS + "!")

    run(main())
