"""From a dialog to the token ids that the model was trained to answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from berth.serving.errors import InvalidRequest, UnsafePrompt
from berth.serving.prompt import Prompt
from berth.serving.request import PLAINLY, ChatOptions, Message
from berth.tokenizer.base import Tokenizer

UNSAFE_ERROR = "Error: special tags are not allowed as part of the prompt."

_TAGS = ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>")
_ROLES_ERROR = (
    "model only supports 'system', 'user' and 'assistant' roles, "
    "starting with 'system', then 'user' and alternating (u/a/u/a/u...)"
)
_NAMES = {"system": "System", "user": "User", "assistant": "Assistant"}


# What the server itself gives a template.
RESERVED_VARIABLES = frozenset(
    {
        "messages", "tools", "documents", "add_generation_prompt", "continue_final_message",
        "bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token",
    }
)  # fmt: skip


class ChatTemplate(Protocol):
    """One model's way to write a dialog."""

    name: str
    variables: frozenset[str]  # that a client may set

    @property
    def fields(self) -> frozenset[str]:
        """What it writes of a message beside role and content: of "name" and "tool_calls"."""
        ...

    def render(self, messages: Sequence[Message], options: ChatOptions = PLAINLY) -> Prompt:
        """Encode `messages` up to where the assistant's answer begins, or as `options` say.

        Raises:
            InvalidRequest: the template has no place for such a sequence of roles.
        """
        ...


class Llama2Template:
    """Llama 2's format, as in Meta's own library: each past exchange encoded on its own.

    Messages are stripped, and tags of the format in any of them are refused.
    """

    name = "llama-2"
    variables: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def render(self, messages: Sequence[Message], options: ChatOptions = PLAINLY) -> Prompt:
        turns = [(message.role, message.text) for message in messages]
        if not turns:
            raise InvalidRequest("messages is empty; it should end with a user's", "messages")
        if turns[0][0] == "system":
            if len(turns) == 1:
                raise InvalidRequest(_ROLES_ERROR, "messages")
            system, (role, content) = turns[0][1], turns[1]
            turns[:2] = [(role, f"<<SYS>>\n{system}\n<</SYS>>\n\n{content}")]
        asked, answered = turns[::2], turns[1::2]
        if any(role != "user" for role, _ in asked) or any(r != "assistant" for r, _ in answered):
            raise InvalidRequest(_ROLES_ERROR, "messages")
        begun = ""
        if options.continue_final_message and turns[-1][0] == "assistant" and len(turns) > 1:
            begun = f" {turns.pop()[1].strip()}"
        elif turns[-1][0] == "assistant" and not options.add_generation_prompt:
            pass  # whole exchanges, and nothing begun
        elif turns[-1][0] != "user":
            raise InvalidRequest(f"Last message must be from user, got {turns[-1][0]}", "messages")
        if any(tag in message.text for message in messages for tag in _TAGS):
            raise UnsafePrompt(UNSAFE_ERROR, "messages")
        encode, eos = self._tokenizer.encode, self._tokenizer.eos_ids[:1]
        ids: list[int] = []
        asked, answered = turns[::2], turns[1::2]
        for (_, user), (_, assistant) in zip(asked, answered, strict=False):
            ids += encode(f"[INST] {user.strip()} [/INST] {assistant.strip()} ", bos=True)
            ids += eos
        if len(answered) == len(asked):
            return Prompt(ids)
        return Prompt(ids + encode(f"[INST] {turns[-1][1].strip()} [/INST]{begun}", bos=True))


class PlainTemplate:
    """For base models, which know no dialog: a script with two speakers."""

    name = "plain"
    variables: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def render(self, messages: Sequence[Message], options: ChatOptions = PLAINLY) -> Prompt:
        if not messages:
            raise InvalidRequest("messages is empty; it should end with a user's", "messages")
        lines = [f"{_NAMES.get(m.role, m.role)}: {m.text.strip()}\n" for m in messages]
        text = "".join(lines)
        if options.continue_final_message:
            text = text.removesuffix("\n")
        elif options.add_generation_prompt:
            text += "Assistant:"
        ids = self._tokenizer.encode(text, bos=True)
        return Prompt(ids, stops=("\nUser:", "\nSystem:"))
