"""A Hugging Face folder without tokenizer.json: its tokenizer.model and what lies beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from berth.serving.jinja_template import JinjaTemplate
from berth.serving.request import Message
from berth.tokenizer.files import load_tokenizer
from serving.tiny_model import VOCAB, sentencepiece_model

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_2 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "[INST] {{ m['content'] }} [/INST]{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)
TALK = [
    {"role": "user", "content": "What is"},
    {"role": "assistant", "content": "the capital"},
    {"role": "user", "content": "of France?"},
]
NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
END = NAMES | {"eos_token": "<|im_end|>"}


def token(content: str) -> dict[str, Any]:
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
    return {"content": content, "special": True} | flags


KINDS: dict[str, dict[str, Any]] = {
    "its own": {"tokenizer_config": NAMES | {"chat_template": LLAMA_2}},
    "unnamed": {"tokenizer_config": {"chat_template": LLAMA_2}},
    "in added_tokens.json": {
        "tokenizer_config": END | {"chat_template": CHATML},
        "added_tokens": {"<|im_end|>": VOCAB, "<|im_start|>": VOCAB + 1},
    },
    "in the decoder": {
        "tokenizer_config": END
        | {
            "chat_template": CHATML,
            "added_tokens_decoder": {
                "0": token("<unk>"), "1": token("<s>"), "2": token("</s>"),
                str(VOCAB): token("<|im_end|>"), str(VOCAB + 1): token("<|im_start|>"),
            },
        },
    },
    "in the map": {
        "tokenizer_config": {"chat_template": LLAMA_2}, "special_tokens_map": NAMES,
    },
}  # fmt: skip


@pytest.fixture(params=[None, True, False], ids=["unsaid", "legacy", "not legacy"])
def legacy(request: pytest.FixtureRequest) -> dict[str, bool]:
    return {} if request.param is None else {"legacy": request.param}


def write(folder: Path, files: dict[str, Any], legacy: dict[str, bool]) -> str:
    """The folder's files; returns its template."""
    (folder / "tokenizer.model").write_bytes(sentencepiece_model())
    (folder / "config.json").write_text('{"model_type": "llama"}')
    for name, content in files.items():
        if name == "tokenizer_config":
            content = content | {"tokenizer_class": "LlamaTokenizer"} | legacy
        (folder / f"{name}.json").write_text(json.dumps(content))
    return str(files["tokenizer_config"]["chat_template"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_chats_ids_are_those_of_autotokenizer(
    kind: str, legacy: dict[str, bool], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    template = write(tmp_path, KINDS[kind], legacy)
    found, reference = load_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    messages = [Message(m["role"], m["content"]) for m in TALK]
    want = reference.apply_chat_template(TALK, add_generation_prompt=True, return_dict=False)
    assert JinjaTemplate(template, tmp_path, found).render(messages).ids == want
    assert (found.bos_id, found.eos_ids) == (reference.bos_token_id, (reference.eos_token_id,))


def test_what_was_added_is_no_text_of_a_users_and_has_none_in_an_answer(tmp_path: Path) -> None:
    write(tmp_path, KINDS["in added_tokens.json"], {})
    found = load_tokenizer(tmp_path)
    assert VOCAB not in found.encode("a<|im_end|>b", bos=True)
    assert found.encode_template("<|im_end|>") == [VOCAB]
    assert found.token_bytes(VOCAB) == b"<|im_end|>"
    detokenizer = found.detokenizer()
    ids = [*found.encode("Hello", bos=False), VOCAB]
    assert "".join(map(detokenizer.feed, ids)) + detokenizer.flush() == "Hello"


def test_ids_behind_a_gap_are_kept(tmp_path: Path) -> None:
    files = KINDS["in added_tokens.json"] | {"added_tokens": {"<|im_end|>": VOCAB + 5}}
    write(tmp_path, files, {})
    found = load_tokenizer(tmp_path)
    assert found.eos_ids == (VOCAB + 5,)
    assert found.vocab_size == VOCAB + 6
    assert found.token_bytes(VOCAB + 2) == b""


def test_no_bos_is_added_if_the_configuration_says_so(tmp_path: Path) -> None:
    files = {"tokenizer_config": NAMES | {"chat_template": LLAMA_2, "add_bos_token": False}}
    write(tmp_path, files, {})
    found = load_tokenizer(tmp_path)
    assert found.encode("Hello", bos=True) == found.encode("Hello", bos=False)


def test_metas_layout_goes_by_the_model_alone(tmp_path: Path) -> None:
    write(tmp_path, KINDS["in added_tokens.json"], {})
    (tmp_path / "config.json").unlink()
    (tmp_path / "params.json").write_text("{}")
    found = load_tokenizer(tmp_path)
    assert found.eos_ids == (2,)
    assert found.vocab_size == VOCAB
