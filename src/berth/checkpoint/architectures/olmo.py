"""OLMo 2 and 3: norms behind each part and over whole queries and keys; OLMo 3 slides."""

from __future__ import annotations

from berth.checkpoint.architecture import Architecture
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import Attention, Mlp, ModelNumbers
from berth.checkpoint.shapes import decoder, sliding, softmax


def olmo2(name: str, fields: Fields) -> ModelNumbers:
    bias = fields.flag("attention_bias", False)
    mixer = softmax(fields, qkv_bias=bias, out_bias=bias, qk_norm="whole")
    part = Mlp(intermediate=fields.whole("intermediate_size"))
    return decoder(name, fields, lambda _: mixer, lambda _: part, context=2048)


def olmo3(name: str, fields: Fields) -> ModelNumbers:
    layers = fields.whole("num_hidden_layers")
    kinds = fields.names("layer_types") or [
        "full_attention" if (i + 1) % 4 == 0 else "sliding_attention" for i in range(layers)
    ]
    bias = fields.flag("attention_bias", False)

    def mixer(layer: int) -> Attention:
        window = sliding(fields, layer, kinds, 4096)
        return softmax(fields, window=window, qkv_bias=bias, out_bias=bias, qk_norm="whole")

    part = Mlp(intermediate=fields.whole("intermediate_size"))
    return decoder(name, fields, mixer, lambda _: part, context=2048)


ARCHITECTURES = (
    Architecture(name="Olmo2ForCausalLM", types=("olmo2",), sizes=olmo2),
    Architecture(name="Olmo3ForCausalLM", types=("olmo3",), sizes=olmo3),
)
