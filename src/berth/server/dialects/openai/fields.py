"""What becomes of each field of OpenAI's and vLLM's requests: done, refused or left aside.

A field that the request structs of `parse` have is done. One that would change the answer and
cannot be done is refused by its name, unless it holds the value that changes nothing. Any other is
left aside, and the answer's Berth-Ignored-Parameters header names it: none is dropped in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from berth.server.body import decode
from berth.serving.errors import InvalidRequest

_keys = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Refused:
    """A field that is not supported. `neutral`: what changes nothing, beside null and the empty."""

    why: str
    neutral: tuple[Any, ...] = ()


EMPTY: tuple[Any, ...] = (None, "", [], {})  # what asks for nothing, whatever the field

_STRUCTURED = "structured output is not supported yet"
_NO_SAMPLER = "this sampler is not supported"
REFUSED: dict[str, Refused] = {
    "audio": Refused("audio is not supported"),
    "chat_template": Refused(
        "templates of clients are not taken; the server's owner chooses one with --chat-template"
    ),
    "documents": Refused("documents are not supported; put their text into a message"),
    "dry_multiplier": Refused(_NO_SAMPLER, (0,)),
    "dynatemp_range": Refused(_NO_SAMPLER, (0,)),
    "early_stopping": Refused("beam search is not supported", (False,)),
    "grammar": Refused(_STRUCTURED),
    "guided_choice": Refused(_STRUCTURED),
    "guided_grammar": Refused(_STRUCTURED),
    "guided_json": Refused(_STRUCTURED),
    "guided_regex": Refused(_STRUCTURED),
    "json_schema": Refused(_STRUCTURED),
    "kv_transfer_params": Refused("caches are not handed over"),
    "length_penalty": Refused("beam search is not supported", (1,)),
    "logits_processors": Refused("clients cannot bring logits processors"),
    "mirostat": Refused(_NO_SAMPLER, (0,)),
    "mm_processor_kwargs": Refused("images and audio are not supported"),
    "prompt_embeds": Refused("embeddings are not taken as prompts"),
    "prompt_logprobs": Refused("use echo with logprobs, in /v1/completions"),
    "repeat_penalty": Refused("its name here is repetition_penalty", (1,)),
    "return_token_ids": Refused("token ids are not returned", (False,)),
    "return_tokens_as_token_ids": Refused("token ids are not returned", (False,)),
    "skip_special_tokens": Refused("special tokens are never shown", (True,)),
    "structured_outputs": Refused(_STRUCTURED),
    "structural_tag": Refused(_STRUCTURED),
    "tfs_z": Refused(_NO_SAMPLER, (1,)),
    "thinking_token_budget": Refused("the length of thinking cannot be limited"),
    "top_a": Refused(_NO_SAMPLER, (0,)),
    "typical_p": Refused(_NO_SAMPLER, (1,)),
    "use_beam_search": Refused("beam search is not supported", (False,)),
    "vllm_xargs": Refused("there are no extra arguments"),
    "web_search_options": Refused("the server searches nothing"),
    "xtc_probability": Refused(_NO_SAMPLER, (0,)),
}
# Of chats alone; in completions they are done or unknown.
REFUSED_IN_CHATS: dict[str, Refused] = {
    "echo": Refused("only /v1/completions repeats its prompt", (False,)),
    "modalities": Refused("answers are text", (["text"],)),
}


def leftover(body: bytes, request: type[msgspec.Struct], refused: dict[str, Refused]) -> list[str]:
    """The fields of a body that mean nothing here, in their order.

    Raises:
        InvalidRequest: one of them would change the answer.
    """
    known = request.__struct_fields__
    names: list[str] = []
    for name, raw in decode(_keys, body).items():
        if name in known:
            continue
        rule = refused.get(name)
        if rule is not None and not _changes_nothing(raw, rule):
            raise InvalidRequest(f"{name}: {rule.why}; leave the field out", name)
        names.append(name)
    return names


def _changes_nothing(raw: msgspec.Raw, rule: Refused) -> bool:
    value = msgspec.json.decode(raw)
    if value in EMPTY:
        return True
    if isinstance(value, str):  # numbers and booleans may stand in strings, as everywhere
        value = {"true": True, "false": False}.get(value.lower(), value)
    return any(_same(value, neutral) for neutral in rule.neutral)


def _same(value: Any, neutral: Any) -> bool:
    if isinstance(neutral, bool) or isinstance(value, bool):
        return value is neutral
    if isinstance(neutral, int):
        try:
            return float(value) == neutral
        except (TypeError, ValueError, OverflowError):
            return False
    return bool(value == neutral)
