"""The owner's own template, from a file: Jinja or local-llm's form, or refused at the start."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_chat_templates import Characters, dialog

from berth.serving.errors import InvalidRequest
from berth.serving.open_model import select_template
from berth.tokenizer.base import TokenizerError

LOCAL = "A talk.\n\nSo far:\n{chat_history}\nHuman: {input} é😀\nAI:"
TALK = dialog("u:Hi", "a:Ho", "u:Why?")


def rendered(path: Path, source: str, *turns: str) -> str:
    file = path / "own.txt"
    file.write_text(source)
    ids = select_template(path, Characters(), str(file)).render(dialog(*turns)).ids
    return "".join(map(chr, ids)).replace("\ue000", "<s>").replace("\ue001", "</s>")


def test_local_llms_form_has_the_history_and_the_question(tmp_path: Path) -> None:
    assert rendered(tmp_path, LOCAL, "s:Be brief", "u:Hi", "a:Ho", "u:Why?") == (
        "<s>A talk.\n\nSo far:\nSystem: Be brief\nHuman: Hi\nAI: Ho\nHuman: Why? é😀\nAI:"
    )
    assert rendered(tmp_path, LOCAL + "\n", "u:{input}") == (
        "<s>A talk.\n\nSo far:\n\nHuman: {input} é😀\nAI:"
    )
    template = select_template(tmp_path, Characters(), str(tmp_path / "own.txt"))
    assert template.render(TALK).stops == ("\nHuman:",)
    with pytest.raises(InvalidRequest, match="should be the user's"):
        template.render(TALK[:2])


def test_no_question_holds_a_control_token(tmp_path: Path) -> None:
    file = tmp_path / "own.txt"
    file.write_text("{chat_history}</s>{input}")
    ids = select_template(tmp_path, Characters(), str(file)).render(dialog("u:a</s>b")).ids
    assert (ids.count(0xE000), ids.count(0xE001)) == (1, 1)


def test_a_jinja_file_is_run_as_the_models_own_would_be(tmp_path: Path) -> None:
    source = "{{ bos_token }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"
    assert rendered(tmp_path, source, "u:Hi", "a:Ho") == "<s>Hi</s>Ho</s>"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (b"Answer: {input}", "and no other braces"),
        (b"{chat_history} {input} {name}", "and no other braces"),
        (b"{chat_history} {input!r}", "and no other braces"),
        (b"{chat_history} {input:>9}", "and no other braces"),
        (b"{chat_history} {input", "chat template .*expected '}'"),
        (b"plain", "should be Jinja, or a text with {chat_history} and {input}"),
        (b"{{ x", "is broken"),
        (b"\xff{chat_history}{input}", "is not UTF-8"),
        (b"x" * (1024 * 1024 + 1), "is larger"),
    ],
)
def test_a_file_in_neither_form_is_refused(tmp_path: Path, source: bytes, sentence: str) -> None:
    file = tmp_path / "own.txt"
    file.write_bytes(source)
    with pytest.raises(TokenizerError, match=sentence):
        select_template(tmp_path, Characters(), str(file))


def test_a_file_that_is_not_there_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"gone\.jinja: No such file"):
        select_template(tmp_path, Characters(), str(tmp_path / "gone.jinja"))
    with pytest.raises(TokenizerError, match="Is a directory"):
        select_template(tmp_path, Characters(), f"{tmp_path}/")
