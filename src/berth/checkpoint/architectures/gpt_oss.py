"""gpt-oss: experts, attention sinks, every other layer sliding."""

from __future__ import annotations

from berth.checkpoint.architecture import Architecture
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import Attention, ModelNumbers, Moe
from berth.checkpoint.shapes import decoder, sliding, softmax


def gpt_oss(name: str, fields: Fields) -> ModelNumbers:
    kinds = fields.names("layer_types")
    bias = fields.flag("attention_bias", True)

    def mixer(layer: int) -> Attention:
        if kinds:
            window = sliding(fields, layer, kinds, 128)
        else:
            window = None if layer % 2 else fields.whole("sliding_window", default=128)
        return softmax(
            fields,
            kv_heads=8,
            head_dim=fields.whole("head_dim", default=64),
            window=window,
            qkv_bias=bias,
            out_bias=bias,
            sinks=True,
        )

    part = Moe(
        experts=fields.whole("num_local_experts", "num_experts", default=128),
        experts_per_token=fields.whole("num_experts_per_tok", "experts_per_token", default=4),
        intermediate=fields.whole("intermediate_size"),
        bias=True,
        router_bias=True,
    )
    return decoder(name, fields, mixer, lambda _: part, context=131072)


ARCHITECTURES = (Architecture(name="GptOssForCausalLM", types=("gpt_oss",), sizes=gpt_oss),)
