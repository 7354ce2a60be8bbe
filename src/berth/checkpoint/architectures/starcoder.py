"""StarCoder 2: layer norms and biases everywhere, a plain feed-forward part."""

from __future__ import annotations

from berth.checkpoint.architecture import Architecture
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import Mlp, ModelNumbers
from berth.checkpoint.shapes import decoder, softmax


def starcoder2(name: str, fields: Fields) -> ModelNumbers:
    bias = fields.flag("use_bias", True)
    mixer = softmax(
        fields, kv_heads=2, window=fields.maybe("sliding_window"), qkv_bias=bias, out_bias=bias
    )
    part = Mlp(intermediate=fields.whole("intermediate_size"), gated=False, bias=bias)
    return decoder(
        name, fields, lambda _: mixer, lambda _: part, tied=True, context=4096, norm_bias=True
    )


ARCHITECTURES = (
    Architecture(name="Starcoder2ForCausalLM", types=("starcoder2",), sizes=starcoder2),
)
