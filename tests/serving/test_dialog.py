"""A dialog is merged where that changes nothing, and refused by the message that has no place."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_chat_templates import Characters

from berth.serving.chat_template import Llama2Template, PlainTemplate
from berth.serving.chat_templates import named_template
from berth.serving.dialog import ROLES, known_roles, merge, render
from berth.serving.errors import InvalidRequest
from berth.serving.jinja_template import JinjaTemplate
from berth.serving.prompt import Prompt
from berth.serving.request import ChatOptions, Message

NOWHERE = Path("/nonexistent")
MERGING = ChatOptions(merge=True)
LLAMA = Llama2Template(Characters())


def dialog(*turns: str) -> list[Message]:
    """ "s:Be brief." is a system message."""
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [Message(roles[turn[0]], turn[2:]) for turn in turns]


def text(prompt: Prompt) -> str:
    return "".join("<s>" if i == 0xE000 else "</s>" if i == 0xE001 else chr(i) for i in prompt.ids)


def test_the_roles_that_a_template_takes_are_found_by_trying() -> None:
    assert known_roles(LLAMA) == {"system", "user", "assistant"}
    assert known_roles(PlainTemplate(Characters())) == set(ROLES)
    late = JinjaTemplate(
        "{% for m in messages %}{% if m.role == 'tool' and loop.index0 < 2 or m.role not in "
        "['user', 'assistant', 'tool'] %}{{ raise_exception('no') }}{% endif %}{{ m.content }}"
        "{% endfor %}",
        NOWHERE,
        Characters(),
    )
    assert known_roles(late) == {"user", "assistant", "tool"}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (("s:A", "s:B", "u:hi"), ("s:A\n\nB", "u:hi")),
        (("u:one", "u:two"), ("u:one\n\ntwo",)),
        (("u:q", "a:x", "a:y", "u:z"), ("u:q", "a:x\n\ny", "u:z")),
    ],
)
def test_neighbours_of_one_role_are_one_message(
    given: tuple[str, ...], meant: tuple[str, ...]
) -> None:
    assert merge(dialog(*given)) == dialog(*meant)
    assert render(LLAMA, dialog(*given), MERGING) == LLAMA.render(dialog(*meant))


def test_a_template_that_takes_them_as_they_are_is_given_them_so() -> None:
    chatml = named_template("chatml", NOWHERE, Characters())
    shown = text(render(chatml, dialog("u:one", "u:two"), MERGING))
    assert shown.count("<|im_start|>user") == 2


@pytest.mark.parametrize(
    ("given", "index"),
    [
        (("u:hi", "a:yes", "s:late", "u:on"), 2),
        (("a:first", "u:hi"), 0),
        (("s:alone",), 0),
        (("u:hi", "t:result", "u:on"), 1),
    ],
)
def test_what_has_no_place_is_named(given: tuple[str, ...], index: int) -> None:
    with pytest.raises(InvalidRequest, match=rf"^messages\[{index}\] has the role ") as caught:
        render(LLAMA, dialog(*given), MERGING)
    assert caught.value.field == f"messages[{index}]"
    assert "model only supports" in str(caught.value)


def test_kaitos_dialect_keeps_its_sentence() -> None:
    with pytest.raises(InvalidRequest, match=r"^model only supports"):
        render(LLAMA, dialog("u:one", "u:two"), ChatOptions())


CONTINUED = ChatOptions(add_generation_prompt=False, continue_final_message=True)
OPEN = ChatOptions(add_generation_prompt=False)


def test_a_begun_answer_is_gone_on_with() -> None:
    begun = dialog("u:Sing", "a:La la")
    assert text(LLAMA.render(begun, CONTINUED)) == "<s>[INST] Sing [/INST] La la"
    plain = PlainTemplate(Characters())
    assert text(plain.render(begun, CONTINUED)) == "<s>User: Sing\nAssistant: La la"
    source = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</{{ m.role }}>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    jinja = JinjaTemplate(source, NOWHERE, Characters())
    assert text(jinja.render(begun, CONTINUED)) == "<user>Sing</user><assistant>La la"
    assert text(jinja.render(begun, OPEN)).endswith("La la</assistant>")
    assert text(jinja.render(dialog("u:Sing"))) == "<user>Sing</user><assistant>"


def test_a_message_that_the_template_rewrites_cannot_be_gone_on_with() -> None:
    source = "{% for m in messages %}{{ m.content | upper }}{% endfor %}"
    jinja = JinjaTemplate(source, NOWHERE, Characters())
    with pytest.raises(InvalidRequest, match="changes the last message"):
        jinja.render(dialog("u:Sing", "a:La la"), CONTINUED)


def test_a_template_says_which_variables_it_looks_at() -> None:
    source = (
        "{% if enable_thinking is defined and not enable_thinking %}no{% endif %}"
        "{{ messages[0].content }}{{ bos_token }}"
    )
    jinja = JinjaTemplate(source, NOWHERE, Characters())
    assert jinja.variables == {"enable_thinking"}
    said = ChatOptions(variables={"enable_thinking": False})
    assert text(jinja.render(dialog("u:hi"), said)) == "nohi"
