"""Encoding a large text without holding up everybody else's stream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from berth.serving.request import Message
from berth.serving.service import Service

# Below, encoding takes a few milliseconds at most, and a thread would cost more than it saves.
LARGE_CHARACTERS = 64 * 1024


async def encode(service: Service, text: str) -> list[int]:
    """`service.encode`, in a thread where the text is large."""
    if len(text) <= LARGE_CHARACTERS:
        return service.encode(text)
    return await asyncio.to_thread(service.encode, text)


async def render_chat(service: Service, messages: Sequence[Message]) -> list[int]:
    """`service.render_chat`, in a thread where the dialog is large."""
    if sum(len(message.content) for message in messages) <= LARGE_CHARACTERS:
        return service.render_chat(messages)
    return await asyncio.to_thread(service.render_chat, messages)
