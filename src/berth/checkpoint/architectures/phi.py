"""Phi-1 and Phi-2, and Phi-3 and Phi-4, which are others."""

from __future__ import annotations

from berth.checkpoint.architecture import Architecture
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import Mlp, ModelNumbers
from berth.checkpoint.shapes import decoder, softmax


def phi3(name: str, fields: Fields) -> ModelNumbers:
    mixer = softmax(fields, window=_phi3_window(fields))
    part = Mlp(intermediate=fields.whole("intermediate_size"))
    return decoder(name, fields, lambda _: mixer, lambda _: part, context=4096)


def _phi3_window(fields: Fields) -> int | None:
    """As published; one that is as long as the context cuts nothing."""
    window = fields.maybe("sliding_window")
    length = fields.whole("max_position_embeddings", default=4096)
    return window if window is not None and window < length else None


def phi(name: str, fields: Fields) -> ModelNumbers:
    mixer = softmax(fields, qkv_bias=True, out_bias=True)
    part = Mlp(intermediate=fields.whole("intermediate_size"), gated=False, bias=True)
    return decoder(
        name,
        fields,
        lambda _: mixer,
        lambda _: part,
        norms=1,
        context=2048,
        norm_bias=True,
        head_bias=True,
        missing=("norms of queries and keys",) if fields.flag("qk_layernorm", False) else (),
    )


ARCHITECTURES = (
    Architecture(name="Phi3ForCausalLM", types=("phi3",), sizes=phi3),
    Architecture(name="PhiForCausalLM", types=("phi",), sizes=phi),
)
