"""Cohere's Command R and R7B: attention and feed-forward part side by side behind one norm."""

from __future__ import annotations

from berth.checkpoint.architecture import Architecture
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import Attention, Mlp, ModelNumbers
from berth.checkpoint.shapes import decoder, sliding, softmax


def cohere(name: str, fields: Fields) -> ModelNumbers:
    bias = fields.flag("attention_bias", False)
    norm = "whole" if fields.flag("use_qk_norm", False) else "none"
    mixer = softmax(fields, qkv_bias=bias, out_bias=bias, qk_norm=norm)
    part = Mlp(intermediate=fields.whole("intermediate_size"))
    return decoder(name, fields, lambda _: mixer, lambda _: part, tied=True, norms=1, context=8192)


def cohere2(name: str, fields: Fields) -> ModelNumbers:
    pattern = max(fields.count("sliding_window_pattern", default=4), 1)
    layers = fields.whole("num_hidden_layers")
    kinds = fields.names("layer_types") or [
        "sliding_attention" if (i + 1) % pattern else "full_attention" for i in range(layers)
    ]
    bias = fields.flag("attention_bias", False)

    def mixer(layer: int) -> Attention:
        window = sliding(fields, layer, kinds, 4096)
        return softmax(fields, window=window, qkv_bias=bias, out_bias=bias)

    part = Mlp(intermediate=fields.whole("intermediate_size"))
    return decoder(name, fields, mixer, lambda _: part, tied=True, norms=1, context=8192)


ARCHITECTURES = (
    Architecture(name="CohereForCausalLM", types=("cohere",), sizes=cohere),
    Architecture(name="Cohere2ForCausalLM", types=("cohere2",), sizes=cohere2),
)
