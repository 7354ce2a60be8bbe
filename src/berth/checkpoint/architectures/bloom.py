"""BigScience's BLOOM and MosaicML's MPT: ALiBi in place of positions."""

from __future__ import annotations

from berth.checkpoint.architecture import Architecture
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import Mlp, ModelNumbers
from berth.checkpoint.shapes import decoder, every_head


def bloom(name: str, fields: Fields) -> ModelNumbers:
    hidden = fields.whole("hidden_size", "n_embed")
    mixer = every_head(fields, qkv_bias=True, out_bias=True)
    part = Mlp(intermediate=4 * hidden, gated=False, bias=True)
    return decoder(
        name,
        fields,
        lambda _: mixer,
        lambda _: part,
        tied=True,
        context=fields.whole("seq_length", default=2048),
        norm_bias=True,
        embedding_norm=True,
    )


def mpt(name: str, fields: Fields) -> ModelNumbers:
    hidden = fields.whole("d_model", "hidden_size")
    bias = not fields.flag("no_bias", True)
    mixer = every_head(fields, qkv_bias=bias, out_bias=bias)
    part = Mlp(
        intermediate=fields.whole("expansion_ratio", default=4) * hidden, gated=False, bias=bias
    )
    return decoder(
        name,
        fields,
        lambda _: mixer,
        lambda _: part,
        tied=True,
        context=fields.whole("max_seq_len", default=2048),
    )


ARCHITECTURES = (
    Architecture(name="BloomForCausalLM", types=("bloom",), sizes=bloom),
    Architecture(name="MptForCausalLM", types=("mpt",), sizes=mpt),
)
