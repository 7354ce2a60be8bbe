"""The body of KAITO's Falcon images' POST /chat, what it means, and the shape of its answer.

Flat JSON with a `prompt`; every parameter has the images' default. What the images' pipeline would
have answered with 500 is 422 here, in the same shape as a wrong type.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec

from berth.protocol.messages import GenerateParams
from berth.server.body import decode
from berth.server.dialects.kaito.parse import Stop, stops_of
from berth.server.errors import Malformed, renamed
from berth.server.schema import INT32, bound, number, stated
from berth.serving.check_generate import MAX_BAD_WORDS, MAX_BEAMS, NEEDS_GENERATE
from berth.serving.errors import InvalidRequest
from berth.serving.request import Answer, Options
from berth.serving.validate import MAX_STOP_TOKEN_IDS


def _said(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


def _generates(text: str) -> msgspec.Meta:
    """Of what only Hugging Face's generate does."""
    return stated(description=text, **bound("generate"))


_Count = Annotated[int, msgspec.Meta(ge=0, le=INT32)]
_Some = Annotated[int, msgspec.Meta(ge=1, le=INT32)]
_Token = Annotated[_Count, stated(**bound("token"))]
_Words = Annotated[list[_Token], stated(minItems=1, maxItems=MAX_BAD_WORDS)]
_Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class FalconRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt to be continued, and how. null: the default."""

    prompt: str
    max_length: Annotated[
        Annotated[_Some, stated(minimum=2)] | None, _said("tokens of prompt and output together")
    ] = 200
    min_length: Annotated[_Count | None, _said("tokens of prompt and output together")] = 0
    do_sample: Annotated[bool | None, _said("false: always the most probable token")] = True
    early_stopping: Annotated[bool | Literal["never"] | None, _said("of beams")] = False
    num_beams: Annotated[
        Annotated[_Some, stated(maximum=MAX_BEAMS)] | None, _generates("1: no beam search")
    ] = 1
    num_beam_groups: Annotated[_Some | None, _generates("divides num_beams")] = 1
    diversity_penalty: Annotated[
        Annotated[float, stated(**number())] | None, _said("above 0 between groups of beams")
    ] = 0.0
    temperature: Annotated[
        Annotated[float, msgspec.Meta(ge=0), stated(**number(0))] | None, _said("0 is greedy")
    ] = 1.0
    top_k: Annotated[_Count | None, _said("0 keeps all")] = 10
    top_p: _Share | None = 1.0
    typical_p: Annotated[_Share | None, _generates("1 keeps all")] = 1.0
    repetition_penalty: Annotated[
        float, msgspec.Meta(gt=0), stated(**number(0, above=True))
    ] | None = 1.0  # fmt: skip
    length_penalty: Annotated[
        Annotated[float, stated(**number(-100, 100))] | None, _said("of beams")
    ] = 1.0
    no_repeat_ngram_size: Annotated[_Count | None, _generates("0 is off")] = 0
    encoder_no_repeat_ngram_size: Annotated[
        _Count | None, _generates("n-grams of the prompt that the output may not repeat; 0 is off")
    ] = 0
    bad_words_ids: Annotated[
        Annotated[list[_Token | _Words], stated(maxItems=MAX_BAD_WORDS)] | None,
        _generates("token ids, or lists of token ids, that the output must not hold"),
    ] = None
    num_return_sequences: Annotated[_Some, stated(**bound("choices"))] | None = 1
    output_scores: Annotated[bool | None, _said("accepted, without effect")] = False
    return_dict_in_generate: Annotated[bool | None, _said("accepted, without effect")] = False
    pad_token_id: Annotated[
        Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None,
        _said("accepted, without effect"),
    ] = None
    eos_token_id: Annotated[
        _Token | Annotated[list[_Token], stated(maxItems=MAX_STOP_TOKEN_IDS)] | None,
        _said("what ends the output; null: the model's own"),
    ] = None
    forced_bos_token_id: Annotated[
        _Token | None, _generates("the second token of all, after a prompt of one")
    ] = None
    forced_eos_token_id: Annotated[_Token | None, _generates("the token at max_length")] = None
    remove_invalid_values: Annotated[
        bool | None, _generates("go on if the model computes values that are no numbers")
    ] = None
    # Berth's own.
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: Stop = None
    stream: Annotated[bool | None, _said("answer as server-sent events")] = None


class FalconResponse(msgspec.Struct, frozen=True):
    """Prompt and output; of several sequences, one after the other without a separator."""

    result: str = msgspec.field(name="Result")


EXAMPLE = {"prompt": "Girafatron is obsessed with giraffes."}

_decoder = msgspec.json.Decoder(FalconRequest, strict=False)
_keys = msgspec.json.Decoder(dict[str, msgspec.Raw])
_DEFAULTS: dict[str, Any] = {
    field.name: field.default for field in msgspec.structs.fields(FalconRequest)
}
# serving's names of what it refuses, as this dialect's clients write them.
_NAMES = {
    "max_tokens": "max_length",
    "min_tokens": "min_length",
    "stop_token_ids": "eos_token_id",
    "messages": "prompt",
}


def parse(body: bytes) -> tuple[FalconRequest, list[str]]:
    """The request with nulls replaced by defaults, and the names of what means nothing here.

    Raises:
        Malformed: not JSON, or not of this shape.
    """
    request = decode(_decoder, body)
    nulls = {
        name: default
        for name, default in _DEFAULTS.items()
        if default is not None and getattr(request, name) is None
    }
    unknown = [key for key in decode(_keys, body) if key not in _DEFAULTS]
    return msgspec.structs.replace(request, **nulls), unknown


def options_of(request: FalconRequest, *, prompt_tokens: int, timeout: float) -> list[Options]:
    """One entry for each submission: several sequences are sampled as so many requests.

    Raises:
        Malformed: max_length leaves no room, or sequences would all be the same.
    """
    r: Any = request  # a field whose default is not null is never null here
    room = r.max_length - prompt_tokens
    if room < 1:
        raise Malformed(
            f"max_length is {r.max_length} and counts the prompt, which has {prompt_tokens} "
            f"tokens; it should be at least {prompt_tokens + 1}.",
            ("max_length",),
        )
    temperature = float(r.temperature) if r.do_sample else 0.0
    copies = 1 if r.num_beams > 1 else r.num_return_sequences
    if copies > 1 and temperature == 0:
        raise Malformed(
            f"num_return_sequences is {copies}; without beams and without sampling all sequences "
            "are the same, so it should be 1.",
            ("num_return_sequences",),
        )
    generate = _generate_params(r, sampled=temperature > 0)
    stops = [r.eos_token_id] if isinstance(r.eos_token_id, int) else r.eos_token_id or []
    options = Options(
        max_tokens=room,
        min_tokens=min(max(r.min_length - prompt_tokens, 0), room),
        temperature=temperature,
        top_k=r.top_k if temperature else 0,
        top_p=float(r.top_p) if temperature else 1.0,
        repetition_penalty=float(r.repetition_penalty),
        seed=r.seed,
        stop=stops_of(r.stop),
        stop_token_ids=tuple(stops),
        ignore_eos=bool(stops),
        clip_max_tokens=True,
        max_temperature=math.inf,
        continues_prompt=True,
        timeout=timeout,
        generate=generate if generate.asked_for else None,
    )
    if r.seed is None or copies == 1:
        return [options] * copies
    return [replace(options, seed=_wrapped(r.seed + n)) for n in range(copies)]


def needs_generate(request: FalconRequest) -> bool:
    """Whether only Hugging Face's generate computes what this request asks for."""
    r: Any = request
    return bool(_generate_params(r, sampled=bool(r.do_sample and r.temperature)).asked_for)


def _generate_params(r: Any, *, sampled: bool) -> GenerateParams:
    """What of it only generate does; a parameter that has no effect is left at its default."""
    beams = r.num_beams > 1
    words = r.bad_words_ids or []
    return GenerateParams(
        num_beams=r.num_beams,
        num_return_sequences=r.num_return_sequences if beams else 1,
        num_beam_groups=r.num_beam_groups,
        diversity_penalty=float(r.diversity_penalty) if r.num_beam_groups > 1 else 0.0,
        early_stopping=r.early_stopping if beams else False,
        length_penalty=float(r.length_penalty) if beams else 1.0,
        typical_p=float(r.typical_p) if sampled else 1.0,
        no_repeat_ngram_size=r.no_repeat_ngram_size,
        encoder_no_repeat_ngram_size=r.encoder_no_repeat_ngram_size,
        bad_words_ids=[[word] if isinstance(word, int) else word for word in words],
        forced_bos_token_id=r.forced_bos_token_id,
        forced_eos_token_id=r.forced_eos_token_id,
        remove_invalid_values=bool(r.remove_invalid_values),
    )


def refusal(error: InvalidRequest) -> Exception:
    """What serving refuses, in this dialect: 422 with the field, as for a wrong type.

    What the engine cannot do at all stays 400.
    """
    error = renamed(error, _NAMES)
    if error.code == NEEDS_GENERATE:
        return error
    return Malformed(str(error), (error.field,) if error.field else ())


def result(prompt: str, answers: list[Answer]) -> FalconResponse:
    """The body of the answer."""
    return FalconResponse("".join(prompt + answer.text for answer in sequences(answers)))


def sequences(answers: list[Answer]) -> list[Answer]:
    """Every sequence of a call, those of a beam search best first."""
    return [one for answer in answers for one in (answer, *answer.others)]


def _wrapped(seed: int) -> int:
    return (seed + 2**63) % 2**64 - 2**63
