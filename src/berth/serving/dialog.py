"""A dialog in the order that a model's template takes it, merged as far as that changes nothing.

Clients send two system messages, one in the middle, two questions in a row. Many templates refuse
that. Neighbours of one role can be written as one message without loss; anything else would move
words to a place that their author did not choose, and is refused with the message that has no
place.
"""

from __future__ import annotations

from collections.abc import Sequence

from berth.serving.chat_template import ChatTemplate
from berth.serving.errors import InvalidRequest, UnsafePrompt
from berth.serving.prompt import Prompt
from berth.serving.request import ChatOptions, Message, ToolCall
from berth.serving.template_probe import CALL_ID

_BETWEEN = "\n\n"


def render(template: ChatTemplate, messages: Sequence[Message], options: ChatOptions) -> Prompt:
    """The dialog as the template writes it; if it refuses and `options.merge` allows it, with
    neighbours of one role merged.

    Raises:
        InvalidRequest: the template has no place for such a dialog; names the message.
    """
    check_calls(messages, template.fields)
    if not options.merge:
        return template.render(messages, options)
    refusal: InvalidRequest
    try:
        return template.render(messages, options)
    except UnsafePrompt:
        raise
    except InvalidRequest as error:
        refusal = error
    merged = merge(messages)
    if len(merged) < len(messages):
        try:
            return template.render(merged, options)
        except InvalidRequest as error:
            refusal = error
    raise _named(refusal, messages)


def merge(messages: Sequence[Message]) -> list[Message]:
    """Neighbours of the same role as one message, a blank line between them."""
    merged: list[Message] = []
    for message in messages:
        last = merged[-1] if merged else None
        if last and last.role == message.role and last.plain and message.plain:
            merged[-1] = Message(message.role, last.text + _BETWEEN + message.text)
        else:
            merged.append(message)
    return merged


def check_calls(messages: Sequence[Message], fields: frozenset[str]) -> None:
    """Refuse a history in which tools are called, unless the template writes such calls.

    Raises InvalidRequest.
    """
    if "tool_calls" in fields:
        return
    for index, message in enumerate(messages):
        if message.tool_calls:
            raise no_calls(index)


def no_calls(index: int) -> InvalidRequest:
    """The refusal of the calls in a message, where the template does not write them."""
    field = f"messages[{index}].tool_calls"
    return InvalidRequest(
        f"{field} are not supported yet with this model: its chat template does not write them",
        field,
    )


ROLES = ("system", "user", "assistant", "tool", "function")


def known_roles(template: ChatTemplate) -> frozenset[str]:
    """The roles that a template takes anywhere in a dialog, found by trying."""
    before = ((), ("user",), ("user", "assistant"), ("system",), ("system", "user", "assistant"))
    after = ((), ("user",), ("assistant", "user"))
    return frozenset(
        role
        for role in ROLES
        if any(_takes(template, (*b, role, *a)) for b in before for a in after)
        or (role == "tool" and _takes_results(template))
    )


def _takes_results(template: ChatTemplate) -> bool:
    """Whether a tool may answer a call: some templates take no answer without one."""
    if "tool_calls" not in template.fields:
        return False
    call = ToolCall("x", "{}", CALL_ID)
    asked = (Message("user", "x"), Message("assistant", None, (call,)))
    try:
        template.render([*asked, Message("tool", "x", (), CALL_ID, "x")])
    except InvalidRequest:
        return False
    return True


def _takes(template: ChatTemplate, roles: Sequence[str]) -> bool:
    try:
        template.render([Message(role, "x") for role in roles])
    except InvalidRequest:
        return False
    return True


def _named(refusal: InvalidRequest, messages: Sequence[Message]) -> InvalidRequest:
    """The template's own sentence, and the first message in a place that templates do not allow."""
    index = _out_of_place(messages)
    if refusal.field not in (None, "messages") or index is None:
        return refusal
    role = messages[index].role
    where = f"messages[{index}]"
    return InvalidRequest(
        f"{where} has the role {role}, which has no place there in this model's chat template. "
        f"{refusal}",
        where,
        refusal.code,
    )


def _out_of_place(messages: Sequence[Message]) -> int | None:
    """The first message that breaks the order system, user, assistant, user, …

    What tools answered goes on with the assistant's turn, if it called any.
    """
    expected = "user"
    called = False
    for index, message in enumerate(messages):
        if index == 0 and message.role == "system":
            if len(messages) == 1:
                return 0
            continue
        if index and message.role == messages[index - 1].role:
            continue  # merged with the one before
        called = called or bool(message.tool_calls)
        if called and message.role == "tool":
            expected = "assistant"
            continue
        if message.role != expected:
            return index
        expected = "assistant" if expected == "user" else "user"
    return None
