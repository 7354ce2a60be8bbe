"""Which engine runs a model: the only place that decides it. Pure.

`berth fit`, `check`, `plan`, `serve`, the image build and the engines' own refusals follow it. It
answers only with engines that Berth can start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from berth.checkpoint.architectures import by_native_name
from berth.checkpoint.describe import Description
from berth.checkpoint.errors import NoEngine
from berth.checkpoint.quantised import complaint_of, is_installed
from berth.checkpoint.text_types import TEXT_TYPES
from berth.protocol.engines import DESCRIBED, ENGINES, LIBRARY, QUANTISING, EngineKind

Wanted = Literal["auto"] | EngineKind


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine, and why it is not the native one though that knows the architecture."""

    engine: EngineKind
    why: str | None = None


def engine_for(
    model: Description,
    wanted: Wanted = "auto",
    *,
    quantise: bool = False,
    installed: Callable[[str], bool] = is_installed,
) -> Choice:
    """The engine for a model.

    Args:
        wanted: what the owner said.
        quantise: whether the weights are to be loaded in 8 or 4 bits.
        installed: tells whether a package that reads packed weights is there.

    Raises:
        NoEngine: no engine runs this model, or not the one that was asked for; says what would.
    """
    if model.layout == "meta":
        needed = QUANTISING if quantise else DESCRIBED if wanted == "auto" else wanted
        if "meta" not in ENGINES[needed].layouts:
            raise NoEngine(
                f"the {needed} engine reads Hugging Face's layout, and this folder is in "
                "Meta's; leave --engine and the quantisation out, or use berth convert"
            )
        return Choice(DESCRIBED)
    _refuse_what_gives_no_text(model)
    if quantise and wanted != "auto" and not ENGINES[wanted].quantises:
        raise NoEngine(
            f"the {wanted} engine does not quantise while loading; use --engine {QUANTISING}"
        )
    if wanted == DESCRIBED and model.native is None:
        raise NoEngine(_not_native(model))
    if wanted in ("auto", DESCRIBED) and not quantise and model.native is not None:
        return Choice(DESCRIBED)
    _refuse_what_is_packed(model, installed)
    _refuse_what_transformers_does_not_know(model)
    why = None
    if wanted == "auto" and model.refusal is not None and model.quantization is None:
        why = f"the native engine does not run it: {model.refusal}"
    return Choice(LIBRARY, why)


def _not_native(model: Description) -> str:
    if model.refusal is not None:
        return f"{model.refusal}. --engine transformers may run it"
    known = ", ".join(sorted(each.name for each in by_native_name().values()))
    return (
        f"the native engine does not know {model.architecture[:100]}; it knows {known}. "
        "Use --engine transformers, which runs whatever transformers' AutoModelForCausalLM loads"
    )


def _refuse_what_gives_no_text(model: Description) -> None:
    if model.complaint is not None:
        raise NoEngine(f"the model {model.complaint}")
    if model.numbers is not None and not model.numbers.generates:
        raise NoEngine(
            f"the model ({model.architecture[:100]}) makes embeddings and writes no text; serve a "
            "model that does, such as one whose architecture ends in ForCausalLM"
        )


def _refuse_what_transformers_does_not_know(model: Description) -> None:
    kind = model.model_type
    if kind is not None and kind not in TEXT_TYPES and not model.remote_code:
        raise NoEngine(
            f"the model is of a type ({kind[:100]}) that neither the native engine nor "
            "transformers knows; a newer Berth may"
        )


def _refuse_what_is_packed(model: Description, installed: Callable[[str], bool]) -> None:
    if (said := complaint_of(model.quantization, installed)) is not None:
        raise NoEngine(f"the model {said}")
