"""Chat templates by name, for weights that bring none of their own.

One Jinja file each, beside this one, run in the same sandbox as a model's own. `llama-2` and
`plain` are programs instead: the first encodes each exchange on its own, as Meta's library does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from berth.serving.chat_template import ChatTemplate, Llama2Template, PlainTemplate
from berth.serving.errors import InvalidRequest
from berth.serving.jinja_template import JinjaTemplate
from berth.serving.prompt import Prompt
from berth.serving.request import PLAINLY, ChatOptions, Message
from berth.tokenizer.base import Tokenizer, TokenizerError

# What an answer stops at if no control token ends it: the words that open the next question.
_STOPS: dict[str, tuple[str, ...]] = {
    "alpaca": ("### Instruction:",),
    "chatml": (),
    "falcon-instruct": ("\nUser:",),
    "gemma": (),
    "llama-3": (),
    "mistral": (),
    "orca-mini": ("### User:",),
    "phi": (),
    "vicuna": ("USER:",),
    "zephyr": (),
}
NAMES = tuple(sorted((*_STOPS, Llama2Template.name, PlainTemplate.name)))


class NamedTemplate(JinjaTemplate):
    """One of the Jinja files, with the tokeniser's own first and last control token."""

    def __init__(self, name: str, folder: Path, tokenizer: Tokenizer) -> None:
        source = Path(__file__).with_name(f"{name}.jinja").read_text(encoding="utf-8")
        super().__init__(source, folder, tokenizer)
        self.name = name
        self.set_ends(tokenizer)

    def render(self, messages: Sequence[Message], options: ChatOptions = PLAINLY) -> Prompt:
        last = messages[-1].role if messages else ""
        goes_on = options.continue_final_message or not options.add_generation_prompt
        if last == "system" or (last == "assistant" and not goes_on):
            raise InvalidRequest(
                f"the last message should be the user's, not one of role {last}",
                "messages",
            )
        return replace(super().render(messages, options), stops=_STOPS[self.name])


def named_template(name: str, folder: Path, tokenizer: Tokenizer) -> ChatTemplate:
    """The template called `name`, one of NAMES, for the model in `folder`.

    Raises:
        TokenizerError: there is no such template.
    """
    if name == Llama2Template.name:
        return Llama2Template(tokenizer)
    if name == PlainTemplate.name:
        return PlainTemplate(tokenizer)
    if name not in _STOPS:
        raise TokenizerError(
            f"there is no chat template {name!r}; it should be one of {', '.join(NAMES)}, or jinja "
            "for the model's own"
        )
    return NamedTemplate(name, folder, tokenizer)
