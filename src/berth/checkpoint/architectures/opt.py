"""Meta's OPT: learned positions, and in its 350M a narrower embedding."""

from __future__ import annotations

from berth.checkpoint.architecture import Architecture
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import Mlp, ModelNumbers
from berth.checkpoint.shapes import decoder, every_head

_BEFORE = 2  # rows of the position table that no token uses


def opt(name: str, fields: Fields) -> ModelNumbers:
    bias = fields.flag("enable_bias", True)
    mixer = every_head(fields, qkv_bias=bias, out_bias=bias)
    part = Mlp(intermediate=fields.whole("ffn_dim"), gated=False, bias=bias)
    hidden = fields.whole("hidden_size")
    narrow = (fields.maybe("word_embed_proj_dim") or hidden) != hidden
    first = fields.flag("do_layer_norm_before", True)
    return decoder(
        name,
        fields,
        lambda _: mixer,
        lambda _: part,
        tied=True,
        context=2048,
        norm_bias=True,
        final_norm=first and not fields.flag("_remove_final_layer_norm", False),
        positions=fields.whole("max_position_embeddings", default=2048) + _BEFORE,
        missing=("projections of a narrower embedding",) if narrow else (),
    )


ARCHITECTURES = (Architecture(name="OPTForCausalLM", types=("opt",), sizes=opt),)
