"""Work that takes long, without holding up everybody else's stream.

A thread helps though Python runs one at a time: tokenizers let go of the interpreter, and Python
code lets go of it every few milliseconds. It does not help with one call of a C library that keeps
it; those are bounded by what they are given (server/body_limits.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from berth.serving.prompt import Prompt
from berth.serving.request import PLAINLY, ChatOptions, Message
from berth.serving.service import Service

P = ParamSpec("P")
T = TypeVar("T")

# Below, encoding takes about 3 ms at most, and a thread would cost more than it saves.
LARGE_CHARACTERS = 16 * 1024
_MESSAGE_CHARACTERS = 64  # what a message costs in a template beside its text, in characters
# Few, whatever the number of cores: every thread that wants the interpreter makes the loop wait.
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="berth-offload")


async def run(large: bool, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """`work`, in a thread if it is `large`."""
    if not large:
        return work(*args, **kwargs)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREADS, lambda: work(*args, **kwargs))


async def encode(service: Service, text: str) -> Prompt:
    """`service.encode`, in a thread if the text is large."""
    return await run(len(text) > LARGE_CHARACTERS, service.encode, text)


async def encode_all(
    service: Service, prompts: Sequence[str] | Sequence[str | list[int]]
) -> list[Prompt]:
    """Every prompt, encoded unless it is token ids; in a thread if together they are large."""
    size = sum(len(prompt) for prompt in prompts if isinstance(prompt, str))

    def work() -> list[Prompt]:
        return [service.encode(p) if isinstance(p, str) else Prompt(p) for p in prompts]

    return await run(size > LARGE_CHARACTERS, work)


async def render_chat(
    service: Service, messages: Sequence[Message], options: ChatOptions = PLAINLY
) -> Prompt:
    """`service.render_chat`, in a thread if the dialog is large."""
    size = sum(
        len(message.text) if message.plain else sum(map(len, message.texts()))
        for message in messages
    )
    large = size + _MESSAGE_CHARACTERS * len(messages) > LARGE_CHARACTERS
    return await run(large, service.render_chat, messages, options)
