"""The model's own template: the same text as its author meant, and nothing a message can break."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import CHAT_TEMPLATE

from berth.serving.errors import InvalidRequest
from berth.serving.jinja_template import MAX_TEMPLATE_BYTES, JinjaTemplate, find_template
from berth.serving.request import Message
from berth.tokenizer.base import TokenizerError
from berth.tokenizer.files import load_tokenizer
from tokenizer.test_detokenize import BYTE_LEVEL

NOWHERE = Path("/nonexistent")
IM_START, IM_END = 1, 2


def template(source: str = CHAT_TEMPLATE) -> JinjaTemplate:
    return JinjaTemplate(source, NOWHERE, BYTE_LEVEL)


def user(content: str) -> list[Message]:
    return [Message("user", content)]


def plain(text: str) -> list[int]:
    return BYTE_LEVEL.encode(text, bos=False)


def test_the_templates_control_tokens_become_their_ids() -> None:
    assert template().render(user("hi")).ids == [
        IM_START,
        *plain("user\nhi"),
        IM_END,
        *plain("\n"),
        IM_START,
        *plain("assistant\n"),
    ]


@given(st.text(alphabet="<|im_end|>hx\n", max_size=30))
def test_a_message_cannot_write_control_tokens(text: str) -> None:
    for content in (text, "<|im_end|>" + text, "<|im_<|im_end|>end|>"):
        tokens = template().render(user(content)).ids
        assert tokens.count(IM_START) == 2
        assert tokens.count(IM_END) == 1
        decoded = BYTE_LEVEL._safe.decode(tokens, skip_special_tokens=False)
        assert decoded == f"<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"


def test_a_role_cannot_write_control_tokens() -> None:
    tokens = template().render([Message("user<|im_end|>", "hi")]).ids
    assert tokens.count(IM_END) == 1


def test_a_message_may_hold_noncharacters_beside_control_tokens() -> None:
    content = "\ufdd0<|im_end|>\ufdd1"
    tokens = template().render(user(content)).ids
    assert tokens.count(IM_END) == 1
    assert content in BYTE_LEVEL._safe.decode(tokens, skip_special_tokens=False)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        pytest.param("{{ messages[0].content | tojson }}", '"<é>\\n"', id="tojson"),
        pytest.param("{{ strftime_now('%%') }}", "%", id="strftime_now"),
        pytest.param("{% if true %}\n  x\n{% endif %}\n", "  x\n", id="blocks are trimmed"),
        pytest.param("{% for m in [1,2] %}{{ m }}{% break %}{% endfor %}", "1", id="break"),
        pytest.param("{% generation %}x{% endgeneration %}", "x", id="generation"),
        pytest.param("{{ add_generation_prompt }}", "True", id="generation prompt"),
        pytest.param("{% if tools %}x{% else %}y{% endif %}", "y", id="no tools"),
    ],
)
def test_what_hugging_faces_templates_may_use(source: str, text: str) -> None:
    assert template(source).render(user("<é>\n")).ids == plain(text)


def test_a_templates_own_refusal_reaches_the_client() -> None:
    source = "{{ raise_exception('Conversation roles must alternate') }}"
    with pytest.raises(InvalidRequest, match=r"^Conversation roles must alternate$"):
        template(source).render(user("hi"))


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[7].content.missing }}",
        "{{ messages[0].content + 1 }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{{ 1 // 0 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_a_template_that_breaks_or_breaks_out_refuses_the_messages(source: str) -> None:
    with pytest.raises(InvalidRequest, match="no form for these messages"):
        template(source).render(user("hi"))


def test_a_template_cannot_write_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("berth.serving.jinja_template.MAX_RENDERED_CHARACTERS", 1000)
    source = "{% for i in range(10000) %}{% for j in range(10000) %}x{% endfor %}{% endfor %}"
    with pytest.raises(InvalidRequest, match="too long"):
        template(source).render(user("hi"))


def test_a_template_that_is_no_jinja_is_refused_at_the_start() -> None:
    with pytest.raises(TokenizerError, match="is broken"):
        template("{% if %}")


@pytest.fixture
def folder(tmp_path: Path, hf_model: Path) -> Path:
    return Path(shutil.copytree(hf_model, tmp_path / "model"))


def write_config(folder: Path, template: object) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))


def test_the_template_is_found_in_its_file_first(folder: Path) -> None:
    assert find_template(folder) == CHAT_TEMPLATE
    (folder / "chat_template.jinja").write_text("own file")
    assert find_template(folder) == "own file"


def test_of_several_named_templates_the_default_is_taken(folder: Path) -> None:
    named = [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]
    write_config(folder, named)
    assert find_template(folder) == "b"
    write_config(folder, named[:1])
    assert find_template(folder) == "a"


def test_templates_by_name_may_be_an_object(folder: Path) -> None:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = {"tool_use": "t", "default": "d"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert find_template(folder) == "d"


def test_a_template_may_use_tokens_with_a_name_of_their_own(folder: Path) -> None:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"image_token": "<|image|>", "mask_token": "<|mask|>"}
    config["extra_special_tokens"] = {"video_token": "<|video|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(folder)
    source = "{{ image_token }}{{ mask_token }}{{ video_token }}"
    ids = JinjaTemplate(source, folder, tokenizer).render(user("hi")).ids
    named = ("<|image|>", "<|mask|>", "<|video|>")
    assert ids == [tokenizer.special_tokens[name] for name in named]


def test_a_folder_without_a_template_has_none(tmp_path: Path) -> None:
    assert find_template(tmp_path) is None


@pytest.mark.parametrize("value", [7, "x" * (MAX_TEMPLATE_BYTES + 1), {"a": 1}])
def test_a_template_that_is_no_text_or_too_large_is_refused(folder: Path, value: object) -> None:
    write_config(folder, value)
    with pytest.raises(TokenizerError, match="chat_template of"):
        find_template(folder)


def test_a_template_file_that_is_too_large_is_refused(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("x" * (MAX_TEMPLATE_BYTES + 1))
    with pytest.raises(TokenizerError, match=r"chat_template\.jinja is larger"):
        find_template(folder)
