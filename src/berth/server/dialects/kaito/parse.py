"""KAITO's request bodies, and what they mean.

`parameters` is taken beside the prompts, where the images read it, and inside `input_data`, where
their README puts it; of one given at both places the outer one counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import msgspec

from berth.server.body import decode
from berth.server.errors import Malformed, Verbatim
from berth.server.schema import INT32, Schema, bound, number, stated
from berth.serving.errors import InvalidRequest
from berth.serving.request import Message, Options
from berth.serving.validate import MAX_STOP_CHARACTERS, MAX_STOPS

_Count = Annotated[int, msgspec.Meta(ge=0, le=INT32)]
_Penalty = Annotated[float, stated(description="as in OpenAI's API; 0 by default", **number(-2, 2))]
Stop = (
    Annotated[str, stated(maxLength=MAX_STOP_CHARACTERS)]
    | Annotated[
        list[Annotated[str, stated(minLength=1, maxLength=MAX_STOP_CHARACTERS)]],
        stated(maxItems=MAX_STOPS),
    ]
    | None
)


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """How to generate. The first three are KAITO's, the rest are Berth's. null: the default."""

    max_gen_len: Annotated[
        Annotated[_Count, stated(minimum=1)] | None,
        msgspec.Meta(description="output tokens; null: what the context leaves"),
    ] = None
    temperature: Annotated[
        Annotated[float, stated(**number(0))] | None,
        msgspec.Meta(description="0 is greedy; 0.6 by default"),
    ] = None
    top_p: Annotated[
        Annotated[float, stated(**number(0, 1, above=True))] | None,
        msgspec.Meta(description="0.9 by default"),
    ] = None
    top_k: Annotated[int, msgspec.Meta(ge=-1, le=INT32)] | None = None
    min_p: Annotated[float, stated(**number(0, 1))] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: Stop = None
    repetition_penalty: Annotated[float, stated(**number(0, above=True))] | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None


class GenerateRequest(msgspec.Struct, frozen=True):
    """Text completion of every prompt."""

    prompts: Annotated[list[str], stated(minItems=1, **bound("prompts"))]
    parameters: Parameters | None = None
    stream: Annotated[bool | None, msgspec.Meta(description="answer as server-sent events")] = None


class DialogMessage(msgspec.Struct, frozen=True):
    """One turn of a dialog."""

    role: Annotated[
        str,
        stated(
            description="system (first only), then user and assistant in turn, a user's at the end",
            enum=["system", "user", "assistant"],
        ),
    ]
    content: str


class InputData(msgspec.Struct, frozen=True):
    """Dialogs; each ends with a message of the user."""

    input_string: list[Annotated[list[DialogMessage], stated(minItems=1)]] | None = None
    parameters: Parameters | None = None

    json_schema: ClassVar[Schema] = {
        "properties": {
            "input_string": {"not": {"type": "null"}, "minItems": 1, **bound("prompts")}
        },
        "required": ["input_string"],
    }


class ChatRequest(msgspec.Struct, frozen=True):
    """The next turn of every dialog."""

    input_data: InputData
    parameters: Parameters | None = None
    stream: Annotated[bool | None, msgspec.Meta(description="answer as server-sent events")] = None


_generate_request = msgspec.json.Decoder(GenerateRequest, strict=False)
_chat_request = msgspec.json.Decoder(ChatRequest, strict=False)
# Not strict: numbers and booleans may stand in strings, as in the images' own server (pydantic).
# A struct's decoder steps over a key that it does not know without looking at its letters; these
# do look, so what they refuse is the client's fault too.
_keys = msgspec.json.Decoder(dict[str, msgspec.Raw])
_optional_keys = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)


def parse_generate(body: bytes) -> tuple[GenerateRequest, list[str]]:
    """The request, and the dotted names of what it holds that means nothing here.

    Raises:
        Malformed: not JSON, or not of this shape.
        Verbatim: no prompts.
    """
    try:
        request = decode(_generate_request, body)
    except Malformed as error:
        _explain_shape(error, body)
        raise
    if not request.prompts:
        raise Verbatim("Prompts are required and should be an array", "prompts")
    keys = decode(_keys, body)
    ignored = _unknown(keys, GenerateRequest, "") + _unknown_parameters(keys, "")
    return request, ignored


def parse_chat(body: bytes) -> tuple[ChatRequest, list[list[DialogMessage]], list[str]]:
    """The request, its dialogs, and the dotted names of what means nothing here.

    Raises:
        Malformed: not JSON, or not of this shape.
        Verbatim: no dialogs, in the sentences of the contract.
    """
    request = decode(_chat_request, body)
    keys = decode(_keys, body)
    inner = decode(_keys, bytes(keys["input_data"]))
    if not inner:
        raise Verbatim("Input data is required", "input_data")
    dialogs = request.input_data.input_string
    if not dialogs:
        raise Verbatim("Input string is required", "input_data.input_string")
    ignored = (
        _unknown(keys, ChatRequest, "")
        + _unknown_parameters(keys, "")
        + _unknown(inner, InputData, "input_data.")
        + _unknown_parameters(inner, "input_data.")
    )
    return request, dialogs, ignored


def messages_of(dialog: list[DialogMessage], index: int) -> list[Message]:
    """A dialog in canonical form. Raises InvalidRequest."""
    if not dialog:
        field = f"input_string[{index}]"
        raise InvalidRequest(f"{field} is an empty dialog; it needs a user's message", field)
    return [Message(message.role, message.content) for message in dialog]


def options_of(
    outer: Parameters | None,
    inner: Parameters | None = None,
    *,
    timeout: float,
    continues_prompt: bool = False,
) -> Options:
    """KAITO's defaults, under the inner parameters, under the outer ones."""
    given: dict[str, Any] = {}
    for parameters in (inner, outer):
        for name in Parameters.__struct_fields__:
            value = getattr(parameters, name, None)
            if value is not None:
                given[name] = value
    if "max_gen_len" in given:
        given["max_tokens"] = given.pop("max_gen_len")
    given["stop"] = stops_of(given.get("stop"))
    given.setdefault("temperature", 0.6)
    given.setdefault("top_p", 0.9)
    return Options(
        clip_max_tokens=True,
        max_temperature=math.inf,
        timeout=timeout,
        continues_prompt=continues_prompt,
        **given,
    )


def stops_of(stop: str | list[str] | None) -> tuple[str, ...]:
    """The stop strings; "" is what forms send that have none."""
    return () if not stop else (stop,) if isinstance(stop, str) else tuple(stop)


def _unknown(keys: Iterable[str], struct: type[msgspec.Struct], prefix: str) -> list[str]:
    return [prefix + key for key in keys if key not in struct.__struct_fields__]


def _unknown_parameters(keys: dict[str, msgspec.Raw], prefix: str) -> list[str]:
    raw = keys.get("parameters")
    if raw is None:
        return []
    parameters = decode(_optional_keys, bytes(raw))
    return _unknown(parameters or (), Parameters, prefix + "parameters.")


def _explain_shape(error: Malformed, body: bytes) -> None:
    """Tell a client of another dialect which shape /generate knows."""
    if (
        error.location == ("prompts",)
        and error.kind == "missing"
        and "prompt" in decode(_keys, body)
    ):
        message = 'prompts is required: here this route takes {"prompts": ["…"]}, not `prompt`.'
        raise Malformed(message, ("prompts",), "missing") from None
