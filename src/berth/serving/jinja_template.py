"""The model's own chat template, a Jinja program out of its folder, run in a sandbox."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from berth.serving.chat_template import RESERVED_VARIABLES
from berth.serving.errors import InvalidRequest
from berth.serving.prompt import Prompt
from berth.serving.request import PLAINLY, ChatOptions, Message, ToolCall
from berth.serving.template_probe import Turn, Written, probe
from berth.tokenizer.base import (
    SPECIAL_KEYS,
    Tokenizer,
    TokenizerError,
    class_defaults,
    model_specific,
    read_json,
    special_text,
    tokenizer_config,
)

MAX_TEMPLATE_BYTES = 1024 * 1024
MAX_RENDERED_CHARACTERS = 64 * 1024 * 1024
# Code points that are no characters and that no text should hold: one of them marks a user's text.
_NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]

_ESCAPED_MARK = re.compile(r"(?<!\\)\\u(fd[de][0-9a-f])")

# What a template may raise that meets roles or values which its author did not think of.
_TEMPLATE_BUGS = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    RecursionError,
)


def find_template(folder: Path) -> str | None:
    """The source of a folder's template: chat_template.jinja, else of tokenizer_config.json.

    Raises:
        TokenizerError: it is too large, or not as the format has it.
    """
    path = folder / "chat_template.jinja"
    if path.is_file():
        if path.stat().st_size > MAX_TEMPLATE_BYTES:
            raise TokenizerError(f"{path} is larger than {MAX_TEMPLATE_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    template = read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # several by name
        template = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
    if isinstance(template, dict):
        named = template
        template = named.get("default", next(iter(named.values()), None))
    if template is None:
        return None
    if not isinstance(template, str) or len(template) > MAX_TEMPLATE_BYTES:
        raise TokenizerError(
            f"chat_template of {folder / 'tokenizer_config.json'} should be a string of at most "
            f"{MAX_TEMPLATE_BYTES} characters"
        )
    return template


class JinjaTemplate:
    """A template with the functions that Hugging Face gives it.

    Control tokens count only if the template itself writes them. In a message they stay text.
    """

    name = "jinja"

    def __init__(self, source: str, folder: Path, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        config = tokenizer_config(folder)
        have = tokenizer.special_tokens
        config |= {key: text for key, text in class_defaults(folder).items() if text in have}
        named = {key: config.get(key) for key in SPECIAL_KEYS} | model_specific(config)
        self._constants = {k: text for k in named if (text := special_text(named, k)) is not None}
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_GenerationTag, "jinja2.ext.loopcontrols"],
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = time.strftime
        try:
            self._template = environment.from_string(source)
            known = jinja2.meta.find_undeclared_variables(environment.parse(source))
            self.variables = frozenset(known - RESERVED_VARIABLES - environment.globals.keys())
        except jinja2.TemplateError as error:
            raise TokenizerError(f"the chat template of {folder} is broken: {error}") from error
        # A token of one character is not different from the character.
        specials = [text for text in tokenizer.special_tokens if len(text) > 1]
        specials.sort(key=len, reverse=True)
        self._specials = re.compile(
            "(" + "|".join(map(re.escape, specials)) + ")" if specials else "(?!)"
        )

    def render(self, messages: Sequence[Message], options: ChatOptions = PLAINLY) -> Prompt:
        if not messages:
            raise InvalidRequest("messages is empty; it should hold at least one", "messages")
        mark = self._choose_mark(messages)
        turns = [self._turn(message, mark) for message in messages]
        text = self._run(turns, options)
        if options.continue_final_message:
            text = _cut_after(text, turns[-1]["content"] or "")
        if mark not in text:
            return Prompt(self._tokenizer.encode_template(text))
        ids: list[int] = []
        for part in self._specials.split(text):
            special = self._tokenizer.special_tokens.get(part)
            if special is not None:
                ids.append(special)
            elif part:
                ids += self._tokenizer.encode(part.replace(mark, ""), bos=False)
        return Prompt(ids)

    def set_ends(self, tokenizer: Tokenizer) -> None:
        """Let it write the tokenizer's first and last control token, if the folder names none."""
        texts = {token: text for text, token in tokenizer.special_tokens.items()}
        eos = next((texts[token] for token in tokenizer.eos_ids if token in texts), "")
        bos = "" if tokenizer.bos_id is None else texts.get(tokenizer.bos_id, "")
        self._constants = {"bos_token": bos, "eos_token": eos, **self._constants}

    def _choose_mark(self, messages: Sequence[Message]) -> str:
        """A character that is in none of the messages."""
        texts = {message.role for message in messages}.union(
            m.content if isinstance(m.content, str) else m.text for m in messages
        )
        rest = [message for message in messages if not message.plain]
        for mark in _NONCHARACTERS:
            if not any(mark in text for text in texts) and not any(_holds(m, mark) for m in rest):
                return mark
        raise InvalidRequest("messages holds every noncharacter that Unicode has", "messages")

    @cached_property
    def fields(self) -> frozenset[str]:
        """See `ChatTemplate`."""
        return self._written.fields

    @cached_property
    def _written(self) -> Written:
        return probe(lambda turns: self._run(turns, PLAINLY))

    def _turn(self, message: Message, mark: str) -> Turn:
        """A message as Hugging Face's apply_chat_template is given it."""
        turn: Turn = {"role": self._disarm(message.role, mark)}
        content = message.content
        if message.plain:
            turn["content"] = self._disarm(
                content if isinstance(content, str) else message.text, mark
            )
            return turn
        written = self._written
        if message.content is None and not written.empty_content:
            turn["content"] = None
        else:
            turn["content"] = self._disarm(message.text, mark)
        if message.name is not None:
            turn["name"] = self._disarm(message.name, mark)
        if message.tool_call_id is not None:
            turn["tool_call_id"] = self._disarm(message.tool_call_id, mark)
        if message.tool_calls:
            turn["tool_calls"] = [self._call(c, mark) for c in message.tool_calls]
        return turn

    def _call(self, call: ToolCall, mark: str) -> dict[str, Any]:
        arguments: Any
        if self._written.arguments_as_text:
            arguments = self._disarm(call.arguments, mark)
        else:
            try:
                arguments = self._disarm_all(json.loads(call.arguments), mark)
            except RecursionError:
                raise InvalidRequest(
                    "A tool call's arguments are nested too deep", "messages"
                ) from None
        function = {"name": self._disarm(call.name, mark), "arguments": arguments}
        whole: dict[str, Any] = {} if call.id is None else {"id": self._disarm(call.id, mark)}
        return {**whole, "type": "function", "function": function}

    def _disarm_all(self, value: Any, mark: str) -> Any:
        """JSON, with every text in it disarmed."""
        if isinstance(value, str):
            return self._disarm(value, mark)
        if isinstance(value, list):
            return [self._disarm_all(item, mark) for item in value]
        if isinstance(value, dict):
            return {self._disarm(k, mark): self._disarm_all(v, mark) for k, v in value.items()}
        return value

    def _disarm(self, content: str, mark: str) -> str:
        """Break every control token in a user's text with a mark after its first character."""
        broken = self._specials.sub(lambda m: m[0][0] + mark + m[0][1:], content)
        while broken != content:  # two may have overlapped
            content = broken
            broken = self._specials.sub(lambda m: m[0][0] + mark + m[0][1:], content)
        return broken

    def _run(self, turns: list[Turn], options: ChatOptions) -> str:
        parts: list[str] = []
        size = 0
        try:
            for part in self._template.generate(
                messages=turns,
                tools=None,
                documents=None,
                add_generation_prompt=options.add_generation_prompt,
                **self._constants,
                **options.variables,
            ):
                parts.append(part)
                size += len(part)
                if size > MAX_RENDERED_CHARACTERS:
                    raise InvalidRequest("messages are too long once in their template", "messages")
        except _TemplateRefusal as error:
            raise InvalidRequest(str(error), "messages") from None
        except _TEMPLATE_BUGS as error:
            raise InvalidRequest(
                f"The model's chat template has no form for these messages: {error}", "messages"
            ) from None
        return "".join(parts)


def _cut_after(text: str, last: str) -> str:
    """The prompt up to the end of its last message, which the model goes on with.

    A template may strip the message, so its words are looked for without the space around them.
    Raises InvalidRequest if the template has changed them.
    """
    words = last.strip()
    at = text.rfind(words) if words else -1
    if at < 0:
        raise InvalidRequest(
            "continue_final_message: the model's chat template changes the last message, "
            "so the answer cannot go on from its end",
            "continue_final_message",
        )
    return text[: at + len(words)]


def _holds(message: Message, mark: str) -> bool:
    """Whether a message holds the mark anywhere, as itself or as JSON may write it."""
    escaped = f"\\u{ord(mark):04x}"
    return any(mark in text or escaped in text.lower() for text in message.texts())


class _TemplateRefusal(jinja2.TemplateError):
    """The template itself says why it cannot go on."""


def _raise_exception(message: str) -> None:
    raise _TemplateRefusal(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    text = json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
    # A mark is taken out of the prompt later, so it has to be found there.
    return _ESCAPED_MARK.sub(lambda m: chr(int(m[1], 16)), text) if ensure_ascii else text


class _GenerationTag(jinja2.ext.Extension):
    """{% generation %} … {% endgeneration %} marks answers for training; here it is nothing."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 declares it as an instance variable)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_pass"), [], [], body).set_lineno(line)

    def _pass(self, caller: Callable[[], str]) -> str:
        return caller()
