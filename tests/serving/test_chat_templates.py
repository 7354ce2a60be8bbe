"""Each named template writes a dialog as its family documents it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from tiny_model import hugging_face_folder, meta_folder

from berth.presets.catalogue import load_presets
from berth.serving.chat_template import Llama2Template, PlainTemplate
from berth.serving.chat_templates import NAMES, named_template
from berth.serving.errors import InvalidRequest
from berth.serving.jinja_template import JinjaTemplate
from berth.serving.open_model import select_template
from berth.serving.request import Message
from berth.tokenizer.base import TokenizerError
from berth.tokenizer.detokenize import Detokenizer
from berth.tokenizer.files import load_tokenizer
from tokenizer.test_detokenize import SENTENCEPIECE

NOWHERE = Path("/nonexistent")
ALTERNATING = ("alpaca", "gemma", "mistral", "orca-mini", "vicuna")


class Characters:
    """A tokeniser whose ids are code points, so that a prompt can be read back."""

    vocab_size = 0x110000
    bos_id: int | None = 0xE000
    eos_ids: tuple[int, ...] = (0xE001,)
    special_tokens: Mapping[str, int] = {"<s>": 0xE000, "</s>": 0xE001}
    max_token_bytes = 4

    def encode(self, text: str, *, bos: bool) -> list[int]:
        return [0xE000] * bos + [ord(character) for character in text]

    def encode_template(self, text: str) -> list[int]:
        return self.encode(text, bos=False)

    def token_bytes(self, token: int) -> bytes:
        return chr(token).encode()

    def detokenizer(self, *, continuation: bool = False) -> Detokenizer:
        raise NotImplementedError


def dialog(*turns: str) -> list[Message]:
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [Message(names[turn[0]], turn[2:]) for turn in turns]


def rendered(name: str, *turns: str) -> str:
    ids = named_template(name, NOWHERE, Characters()).render(dialog(*turns)).ids
    return "".join(map(chr, ids)).replace("\ue000", "<s>").replace("\ue001", "</s>")


VICUNA = (
    "<s>A chat between a curious user and an artificial intelligence assistant. The assistant "
    "gives helpful, detailed, and polite answers to the user's questions."
)
ALPACA = (
    "<s>Below is an instruction that describes a task. Write a response that appropriately "
    "completes the request."
)
ORCA = (
    "<s>### System:\nYou are an AI assistant that follows instruction extremely well. "
    "Help as much as you can.\n\n"
)
ONE = {
    "vicuna": f"{VICUNA} USER: Hello ASSISTANT:",
    "alpaca": f"{ALPACA}\n\n### Instruction:\nHello\n\n### Response:",
    "orca-mini": f"{ORCA}### User:\nHello\n\n### Response:\n",
    "zephyr": "<s><|user|>\nHello</s>\n<|assistant|>\n",
    "mistral": "<s>[INST] Hello [/INST]",
    "chatml": "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
    "llama-3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "gemma": "<bos><start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\n",
    "phi": "<|user|>\nHello<|end|>\n<|assistant|>\n",
    "falcon-instruct": "User: Hello\n\nAssistant:",
    "llama-2": "<s>[INST] Hello [/INST]",
    "plain": "<s>User: Hello\nAssistant:",
}
WHOLE = {
    "vicuna": "<s>Be kind. USER: Hello ASSISTANT: Hi</s>USER: Who? ASSISTANT:",
    "alpaca": (
        "<s>Be kind.\n\n### Instruction:\nHello\n\n### Response:Hi</s>"
        "\n\n### Instruction:\nWho?\n\n### Response:"
    ),
    "orca-mini": (
        "<s>### System:\nBe kind.\n\n### User:\nHello\n\n### Response:\nHi</s>\n\n"
        "### User:\nWho?\n\n### Response:\n"
    ),
    "zephyr": (
        "<s><|system|>\nBe kind.</s>\n<|user|>\nHello</s>\n<|assistant|>\nHi</s>\n"
        "<|user|>\nWho?</s>\n<|assistant|>\n"
    ),
    "mistral": "<s>[INST] Be kind.\n\nHello [/INST] Hi</s>[INST] Who? [/INST]",
    "chatml": (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\nHi<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
    "llama-3": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWho?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "gemma": (
        "<bos><start_of_turn>user\nBe kind.\n\nHello<end_of_turn>\n<start_of_turn>model\n"
        "Hi<end_of_turn>\n<start_of_turn>user\nWho?<end_of_turn>\n<start_of_turn>model\n"
    ),
    "phi": (
        "<|system|>\nBe kind.<|end|>\n<|user|>\nHello<|end|>\n<|assistant|>\nHi<|end|>\n"
        "<|user|>\nWho?<|end|>\n<|assistant|>\n"
    ),
    "falcon-instruct": "Be kind.\n\nUser: Hello\n\nAssistant: Hi\n\nUser: Who?\n\nAssistant:",
    "llama-2": (
        "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHello [/INST] Hi </s><s>[INST] Who? [/INST]"
    ),
    "plain": "<s>System: Be kind.\nUser: Hello\nAssistant: Hi\nUser: Who?\nAssistant:",
}


def test_every_named_template_has_its_reference_here() -> None:
    assert set(ONE) == set(WHOLE) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_question_is_written_as_the_family_documents(name: str) -> None:
    assert rendered(name, "u:Hello") == ONE[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_dialog_is_written_as_the_family_documents(name: str) -> None:
    assert rendered(name, "s:Be kind.", "u:Hello", "a:Hi", "u:Who?") == WHOLE[name]


@pytest.mark.parametrize("name", ALTERNATING)
def test_roles_that_do_not_alternate_are_refused(name: str) -> None:
    for turns in (("u:Hello", "u:Hello"), ("a:Hi", "u:Hello"), ("u:x", "s:y", "u:z")):
        with pytest.raises(InvalidRequest, match="roles should alternate"):
            rendered(name, *turns)


@pytest.mark.parametrize("name", ["falcon-instruct", "phi", "zephyr"])
def test_a_role_without_a_place_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="roles should be system, user or assistant"):
        rendered(name, "u:Hello", "t:7")


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"llama-2", "plain"}))
@pytest.mark.parametrize("turns", [("s:Be kind.",), ("u:Hello", "a:Hi")])
def test_an_answer_needs_a_question(name: str, turns: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest, match="the last message should be the user's"):
        rendered(name, *turns)
    with pytest.raises(InvalidRequest, match="messages is empty"):
        rendered(name)


@pytest.mark.parametrize("name", ["alpaca", "vicuna", "orca-mini", "falcon-instruct", "plain"])
def test_templates_in_words_stop_where_the_next_question_begins(name: str) -> None:
    prompt = named_template(name, NOWHERE, Characters()).render(dialog("u:Hello", "a:Hi", "u:Who?"))
    text = "".join(map(chr, prompt.ids))
    assert prompt.stops
    assert any(text.count(stop) >= 1 for stop in prompt.stops)


def test_control_tokens_become_their_ids_and_a_message_writes_none() -> None:
    prompt = named_template("zephyr", NOWHERE, SENTENCEPIECE).render(dialog("u:a</s>b"))
    assert prompt.ids[0] == SENTENCEPIECE.bos_id
    assert prompt.ids.count(SENTENCEPIECE.eos_ids[0]) == 1


@pytest.mark.parametrize("name", ["nothing", "../llama-3", ""])
def test_a_name_that_is_none_gets_the_names(name: str) -> None:
    with pytest.raises(TokenizerError, match="it should be one of alpaca, chatml, falcon-instruct"):
        named_template(name, NOWHERE, Characters())


def test_a_folders_own_template_goes_before_the_fallback(tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path / "hf")
    tokenizer = load_tokenizer(folder)
    own = select_template(folder, tokenizer, None, "chatml")
    assert own.name == "jinja"
    assert select_template(folder, tokenizer, "chatml", "vicuna").name == "chatml"


def test_a_folder_without_one_gets_the_fallback(tmp_path: Path) -> None:
    folder = meta_folder(tmp_path / "meta")
    tokenizer = load_tokenizer(folder)
    assert select_template(folder, tokenizer, None, "vicuna").name == "vicuna"
    assert isinstance(select_template(folder, tokenizer, None, "jinja"), Llama2Template)
    assert isinstance(select_template(folder, tokenizer, "plain"), PlainTemplate)
    with pytest.raises(TokenizerError, match="has no chat template of its own"):
        select_template(folder, tokenizer, "jinja")


def test_every_preset_names_a_template_that_there_is() -> None:
    names = {preset.template for preset in load_presets().values()}
    assert names <= {*NAMES, JinjaTemplate.name}
    assert set(NAMES) <= names
