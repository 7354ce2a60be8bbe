"""A chat template that the server's owner wrote into a file: Jinja, or local-llm's form.

local-llm's is a text with `{chat_history}` (the turns before, as "Human: …" and "AI: …") and
`{input}` (the last question). It becomes a Jinja template, so that both are run in one way.
"""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from berth.serving.errors import InvalidRequest
from berth.serving.jinja_template import MAX_TEMPLATE_BYTES, JinjaTemplate
from berth.serving.prompt import Prompt
from berth.serving.request import PLAINLY, ChatOptions, Message
from berth.tokenizer.base import Tokenizer, TokenizerError

_HISTORY = (
    "{% for m in messages[:-1] %}{{ {'user': 'Human', 'assistant': 'AI', 'system': 'System'}"
    "[m.role] + ': ' + m.content }}{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}"
)
_FIELDS = {"chat_history": _HISTORY, "input": "{{ messages[-1].content }}"}


def file_template(path: Path, folder: Path, tokenizer: Tokenizer) -> JinjaTemplate:
    """The template in a file, for the model in `folder`.

    Raises:
        TokenizerError: the file cannot be read, or is in neither form.
    """
    try:
        if path.stat().st_size > MAX_TEMPLATE_BYTES:
            raise TokenizerError(f"{path} is larger than {MAX_TEMPLATE_BYTES} bytes")
        source = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TokenizerError(f"chat template {path}: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise TokenizerError(f"chat template {path} is not UTF-8 text") from None
    if "{{" in source or "{%" in source:
        template = JinjaTemplate(source, folder, tokenizer)
    else:
        template = _LocalTemplate(_as_jinja(source.removesuffix("\n"), path), folder, tokenizer)
    template.set_ends(tokenizer)
    return template


class _LocalTemplate(JinjaTemplate):
    """Ends with the question, or where the file goes on after it."""

    name = "local-llm"

    def render(self, messages: Sequence[Message], options: ChatOptions = PLAINLY) -> Prompt:
        if not messages or messages[-1].role != "user":
            raise InvalidRequest("the last message should be the user's", "messages")
        return replace(super().render(messages, options), stops=("\nHuman:",))


def _as_jinja(source: str, path: Path) -> str:
    try:
        parts = list(string.Formatter().parse(source))
    except ValueError as error:
        raise TokenizerError(f"chat template {path}: {error}") from None
    fields = [field for _, field, _, _ in parts if field is not None]
    if set(fields) != set(_FIELDS) or any(spec or conversion for _, _, spec, conversion in parts):
        raise TokenizerError(
            f"chat template {path} should be Jinja, or a text with {{chat_history}} and {{input}} "
            "and no other braces"
        )
    texts = (json.dumps(text, ensure_ascii=False) for text, _, _, _ in parts)
    written = ("" if field is None else _FIELDS[field] for _, field, _, _ in parts)
    pairs = zip(texts, written, strict=True)
    return "{{ bos_token }}" + "".join(f"{{{{ {text} }}}}{field}" for text, field in pairs)
