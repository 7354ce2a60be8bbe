"""A history of tool calls is written as transformers writes it, or refused by its field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from test_chat_templates import Characters
from transformers.utils.chat_template_utils import render_jinja_template

from berth.serving.chat_template import ChatTemplate, Llama2Template, PlainTemplate
from berth.serving.chat_templates import named_template
from berth.serving.dialog import known_roles, merge, render
from berth.serving.errors import InvalidRequest
from berth.serving.jinja_template import JinjaTemplate
from berth.serving.request import PLAINLY, ChatOptions, Message, TextPart, ToolCall

NOWHERE = Path("/nonexistent")
# What four families' own templates do with a history, in their forms.
LLAMA_3_1 = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
QWEN_2_5 = """\
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system") or \
(message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
MISTRAL = """\
{{- bos_token }}
{%- set ns = namespace(index=0) %}
{%- for message in messages %}
    {%- if not (message.role == "tool" or (message.tool_calls is defined and \
message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("conversation roles must alternate user/assistant/user/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message["role"] == "user" %}
        {{- "[INST] " + message["content"] + "[/INST]" }}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- raise_exception("Tool call IDs should be strings with length 9!") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] + eos_token }}
    {%- elif message["role"] == "tool" %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content|string + ", " }}
        {%- if not message.tool_call_id is defined or message.tool_call_id|length != 9 %}
            {{- raise_exception("Tool call IDs should be strings with length 9!") }}
        {%- endif %}
        {{- '"call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}
        {{- raise_exception("Only user, assistant and tool roles are supported") }}
    {%- endif %}
{%- endfor %}
"""
HERMES = """\
{%- for message in messages %}
    {%- if message.role in ("user", "system") or \
(message.role == "assistant" and message.tool_calls is not defined) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- for tool_call in message.tool_calls %}
            {{- '\\n<tool_call>\\n{"arguments": ' + tool_call.function.arguments|tojson }}
            {{- ', "name": "' + tool_call.function.name + '"}\\n</tool_call> ' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if not message.name is defined %}
            {{- raise_exception("Tool response dicts require a 'name' key") }}
        {%- endif %}
        {{- '<|im_start|>tool\\n<tool_response>\\n{"name": "' + message.name + '", "content": ' }}
        {{- message.content|tojson + '}\\n</tool_response> <|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
TEMPLATES = {"llama": LLAMA_3_1, "qwen": QWEN_2_5, "mistral": MISTRAL, "hermes": HERMES}
ID = "a1b2c3d4e"
ARGUMENTS = '{"city":"Paris \\u00e9","days":[1,2.50,{"x":null}]}'
HISTORY = [
    Message("user", "How is the weather?"),
    Message("assistant", None, (ToolCall("weather", ARGUMENTS, ID),)),
    Message("tool", '{"sky": "grey"}', tool_call_id=ID, name="weather"),
    Message("assistant", "Grey."),
    Message("user", "And tomorrow?"),
]


class Tokens(Characters):
    """With control tokens of the templates, so that a client's are seen to be broken."""

    special_tokens = {  # noqa: RUF012  (a Mapping in the protocol)
        "<s>": 0xE000, "</s>": 0xE001, "<|im_end|>": 0xE002, "<|eot_id|>": 0xE003,
    }  # fmt: skip

    def encode_template(self, text: str) -> list[int]:
        parts = re.split("(" + "|".join(map(re.escape, self.special_tokens)) + ")", text)
        given = [self.special_tokens.get(part) or part for part in parts]
        return [i for part in given for i in ([part] if isinstance(part, int) else map(ord, part))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(names))
    return tmp_path


def as_transformers(source: str, messages: list[Message]) -> str:
    """What apply_chat_template writes of the same messages, in the form of its documentation."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        for name in ("name", "tool_call_id"):
            if getattr(message, name) is not None:
                turn[name] = getattr(message, name)
        if message.tool_calls:
            turn["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.loads(call.arguments)},
                }
                for call in message.tool_calls
            ]
        turns.append(turn)
    rendered, _ = render_jinja_template(
        [turns], chat_template=source, add_generation_prompt=True, bos_token="<s>", eos_token="</s>"
    )
    return str(rendered[0])


def text(template: ChatTemplate, messages: list[Message], options: ChatOptions = PLAINLY) -> str:
    ids = render(template, messages, options).ids
    names = {i: name for name, i in Tokens.special_tokens.items()}
    return "".join(names.get(i) or chr(i) for i in ids)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_history_of_calls_reads_as_transformers_writes_it(name: str, folder: Path) -> None:
    template = JinjaTemplate(TEMPLATES[name], folder, Tokens())
    assert "tool_calls" in template.fields
    assert "tool" in known_roles(template)
    written = text(template, HISTORY)
    assert written == as_transformers(TEMPLATES[name], HISTORY)
    assert '"city": "Paris é"' in written
    shorter = [HISTORY[0], HISTORY[3], HISTORY[4]]
    assert text(template, shorter) == as_transformers(TEMPLATES[name], shorter)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("where", ["id", "name", "key", "value", "tool_call_id", "tool_name"])
def test_no_text_in_a_call_becomes_a_control_token(name: str, where: str, folder: Path) -> None:
    bad = "</s><|im_end|>\\u003c|eot_id|>" if where in ("key", "value") else "</s><|im_end|>"
    said = {key: bad if key == where else key for key in ("id", "name", "key", "value")}
    arguments = json.dumps({said["key"]: said["value"]}).replace("\\\\u", "\\u")
    call = ToolCall(said["name"], arguments, bad if where == "id" else ID)
    answered = bad if where == "tool_call_id" else ID
    asked = [
        HISTORY[0],
        Message("assistant", None, (call,)),
        Message("tool", "grey", (), answered, bad if where == "tool_name" else "w"),
        *HISTORY[3:],
    ]
    template = JinjaTemplate(TEMPLATES[name], folder, Tokens())
    if name == "mistral" and where in ("id", "tool_call_id"):
        with pytest.raises(InvalidRequest, match="length 9"):
            render(template, asked, PLAINLY)
        return

    def controls(messages: list[Message]) -> int:
        return sum(i in Tokens.special_tokens.values() for i in template.render(messages).ids)

    assert controls(asked) == controls(HISTORY)


@pytest.mark.parametrize(
    "template",
    [
        Llama2Template(Characters()),
        PlainTemplate(Characters()),
        named_template("chatml", NOWHERE, Characters()),
        JinjaTemplate(
            "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.tool_calls %}(calls)"
            "{% endif %}{% endfor %}",
            NOWHERE,
            Characters(),
        ),
    ],
)
def test_calls_that_a_template_would_leave_out_are_refused(template: ChatTemplate) -> None:
    assert "tool_calls" not in template.fields
    with pytest.raises(InvalidRequest, match="its chat template does not write them") as error:
        render(template, HISTORY, ChatOptions(merge=True))
    assert error.value.field == "messages[1].tool_calls"


def test_a_template_that_wants_arguments_as_text_gets_the_clients_own() -> None:
    source = (
        "{% for m in messages %}{{ m.role + ':' }}{% if m.tool_calls %}{% for c in m.tool_calls %}"
        "{{ m.content + c['function']['name'] + c['function']['arguments'] }}{% endfor %}"
        "{% else %}{{ m.content }}{% endif %}|{% endfor %}"
    )
    template = JinjaTemplate(source, NOWHERE, Characters())
    assert text(template, HISTORY[:2]) == (
        f"user:How is the weather?|assistant:weather{ARGUMENTS}|"
    )


def test_names_reach_a_template_that_writes_them() -> None:
    source = "{% for m in messages %}{{ m.name or m.role }}: {{ m.content }}\n{% endfor %}"
    template = JinjaTemplate(source, NOWHERE, Characters())
    assert template.fields == {"name"}
    assert text(template, [Message("user", "Hi", name="Ann")]) == "Ann: Hi\n"
    assert not JinjaTemplate(QWEN_2_5, NOWHERE, Characters()).fields & {"name"}


def test_messages_of_different_speakers_or_calls_are_not_merged() -> None:
    ann, bob = Message("user", "Hi", name="Ann"), Message("user", "Ho", name="Bob")
    first, second = (Message("tool", "x", tool_call_id=i) for i in ("a", "b"))
    assert merge([ann, bob, first, second]) == [ann, bob, first, second]


def test_an_id_that_the_template_refuses_is_not_blamed_on_the_tools_role(folder: Path) -> None:
    template = JinjaTemplate(MISTRAL, folder, Tokens())
    call = ToolCall("weather", "{}", "call_0123456789")
    asked = [HISTORY[0], Message("assistant", None, (call,)), *HISTORY[2:]]
    with pytest.raises(InvalidRequest) as error:
        render(template, asked, ChatOptions(merge=True))
    assert str(error.value) == "Tool call IDs should be strings with length 9!"


def test_arguments_nested_too_deep_are_refused(folder: Path) -> None:
    deep = '{"a":' * 900 + "1" + "}" * 900
    with pytest.raises(InvalidRequest):
        JinjaTemplate(QWEN_2_5, folder, Tokens()).render(
            [HISTORY[0], Message("assistant", None, (ToolCall("f", deep),)), HISTORY[0]]
        )


def test_parts_are_one_text_to_a_template() -> None:
    parts = (TextPart("one"), TextPart("two"))
    assert Message("user", parts).text == "one\ntwo"
    assert text(PlainTemplate(Characters()), [Message("user", parts)]) == text(
        PlainTemplate(Characters()), [Message("user", "one\ntwo")]
    )
