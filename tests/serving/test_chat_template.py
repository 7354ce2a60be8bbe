"""Dialogs in Llama 2's format, and in a plain one."""

from __future__ import annotations

import pytest
import sentencepiece
from tiny_model import sentencepiece_model

from berth.serving.chat_template import Llama2Template, PlainTemplate
from berth.serving.errors import InvalidRequest, UnsafePrompt
from berth.serving.request import Message
from tokenizer.test_detokenize import SENTENCEPIECE

MODEL = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model())
ROLES = (
    "model only supports 'system', 'user' and 'assistant' roles, "
    "starting with 'system', then 'user' and alternating (u/a/u/a/u...)"
)
BOS, EOS = 1, 2


def dialog(*turns: str) -> list[Message]:
    """ "u:Hello" is a user's message."""
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [Message(names[turn[0]], turn[2:]) for turn in turns]


def render(*turns: str) -> list[int]:
    return Llama2Template(SENTENCEPIECE).render(dialog(*turns)).ids


def test_a_question_is_wrapped_in_inst() -> None:
    assert render("u:Hello") == [BOS, *MODEL.encode("[INST] Hello [/INST]")]


def test_each_past_exchange_is_encoded_on_its_own() -> None:
    assert render("u:Hello", "a:Paris", "u: is ") == [
        BOS,
        *MODEL.encode("[INST] Hello [/INST] Paris "),
        EOS,
        BOS,
        *MODEL.encode("[INST] is [/INST]"),
    ]


def test_the_system_message_goes_into_the_first_question() -> None:
    expected = "[INST] <<SYS>>\n be kind \n<</SYS>>\n\nHello [/INST] Paris "
    tokens = render("s: be kind ", "u:Hello", "a:Paris", "u:is")
    assert tokens[: tokens.index(EOS)] == [BOS, *MODEL.encode(expected)]


def test_messages_are_stripped_but_not_within() -> None:
    assert render("u:  Hello \n world\n") == [BOS, *MODEL.encode("[INST] Hello \n world [/INST]")]


@pytest.mark.parametrize(
    "turns",
    [
        pytest.param(["a:Hello"], id="assistant first"),
        pytest.param(["u:Hello", "u:Hello"], id="user twice"),
        pytest.param(["u:Hello", "s:Hello", "u:Hello"], id="system in the middle"),
        pytest.param(["s:Hello"], id="system alone"),
        pytest.param(["s:Hello", "a:Hello"], id="system then assistant"),
        pytest.param(["u:Hello", "t:Hello", "u:Hello"], id="another role"),
    ],
)
def test_roles_out_of_order_are_refused_in_the_references_words(turns: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        render(*turns)
    assert str(caught.value) == ROLES


def test_a_dialog_that_ends_with_the_assistant_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"^Last message must be from user, got assistant$"):
        render("u:Hello", "a:Paris")


def test_an_empty_dialog_is_refused() -> None:
    for template in (Llama2Template(SENTENCEPIECE), PlainTemplate(SENTENCEPIECE)):
        with pytest.raises(InvalidRequest, match="messages is empty"):
            template.render([])


@pytest.mark.parametrize("tag", ["[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"])
@pytest.mark.parametrize("where", range(4))
def test_the_formats_own_tags_are_refused_in_any_message(tag: str, where: int) -> None:
    turns = ["s:be kind", "u:Hello", "a:Paris", "u:is"]
    turns[where] += f" x{tag}x"
    with pytest.raises(UnsafePrompt) as caught:
        render(*turns)
    assert str(caught.value) == "Error: special tags are not allowed as part of the prompt."


def test_control_tokens_in_a_message_stay_text() -> None:
    tokens = render("u:<s></s>")
    assert tokens.count(BOS) == 1
    assert EOS not in tokens


def test_a_base_model_gets_a_script_that_ends_at_the_next_speaker() -> None:
    prompt = PlainTemplate(SENTENCEPIECE).render(dialog("s:be kind", "u:Hello "))
    assert prompt.ids == [BOS, *MODEL.encode("System: be kind\nUser: Hello\nAssistant:")]
    assert "\nUser:" in prompt.stops
