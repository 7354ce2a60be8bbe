"""What a chat template writes of a message beside its role and its content, found by trying.

A template's source does not tell: it may read a key only in a branch that no dialog reaches, or
hand the whole message to a macro. So dialogs with words of their own in these places are rendered,
and the words are looked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from berth.serving.errors import InvalidRequest

Turn = dict[str, Any]  # a message as templates see it
Render = Callable[[list[Turn]], str]

_NAME, _CALLED, _ASKED = "quayname", "quaycalled", "quayasked"
CALL_ID = "quay00001"  # Mistral's templates take ids of nine letters and digits only
_USER: Turn = {"role": "user", "content": "x"}
_ASSISTANT: Turn = {"role": "assistant", "content": "x"}


@dataclass(frozen=True, slots=True)
class Written:
    """How a template writes the further keys of messages."""

    fields: frozenset[str] = frozenset()  # of "name" and "tool_calls", those that it writes
    arguments_as_text: bool = False  # a call's arguments as JSON text; else as the object
    # Whether a message that calls tools and says nothing has "" for its content; else None.
    empty_content: bool = False


def probe(render: Render) -> Written:
    """Render dialogs that end with every kind of message, and see what came of them.

    Args:
        render: raises InvalidRequest for what the template refuses.
    """
    fields: set[str] = set()
    if any(_NAME in _tried(render, [{**turn, "name": _NAME} for turn in turns]) for turns in _SAID):
        fields.add("name")
    for as_text, empty in ((False, False), (False, True), (True, False), (True, True)):
        for turns in _calls(as_text=as_text, empty=empty):
            text = _tried(render, turns)
            if _CALLED in text and _ASKED in text and (empty or "None" not in text):
                return Written(frozenset(fields | {"tool_calls"}), as_text, empty)
    return Written(frozenset(fields))


_SAID: tuple[list[Turn], ...] = ([_USER], [_USER, _ASSISTANT, _USER])


def _calls(*, as_text: bool, empty: bool) -> Iterator[list[Turn]]:
    """Dialogs in which the assistant calls a tool and says nothing."""
    arguments: Any = {"quay": _ASKED}
    if as_text:
        arguments = json.dumps(arguments)
    function = {"name": _CALLED, "arguments": arguments}
    calling = {
        "role": "assistant",
        "content": "" if empty else None,
        "tool_calls": [{"id": CALL_ID, "type": "function", "function": function}],
    }
    result = {"role": "tool", "content": "x", "tool_call_id": CALL_ID, "name": _CALLED}
    yield [_USER, calling, result]
    yield [_USER, calling, result, _ASSISTANT, _USER]
    yield [_USER, calling]


def _tried(render: Render, turns: list[Turn]) -> str:
    try:
        return render(turns)
    except InvalidRequest:
        return ""
