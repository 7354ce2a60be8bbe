"""config.json of the families that have parts of their own: towers for images, mixed layers."""

from __future__ import annotations

from berth.presets.config_keys import Keys
from berth.presets.config_shapes import decoder, sliding
from berth.presets.layers import Attention, Mlp, ModelNumbers


def gemma3(name: str, keys: Keys) -> ModelNumbers:
    kinds = keys.names("layer_types")
    pattern = max(keys.whole("sliding_window_pattern", default=6), 1)
    bias = keys.flag("attention_bias", False)

    def mixer(layer: int) -> Attention:
        if kinds:
            window = sliding(keys, layer, kinds, 4096)
        elif (layer + 1) % pattern:
            window = keys.whole("sliding_window", default=4096)
        else:
            window = None
        heads = keys.whole("num_attention_heads", default=8)
        kv = keys.whole("num_key_value_heads", default=4)
        return Attention(
            heads=heads,
            kv_heads=kv,
            head_dim=keys.whole("head_dim", default=256),
            window=window,
            qkv_bias=bias,
            out_bias=bias,
            qk_norm="head",
        )

    part = Mlp(intermediate=keys.whole("intermediate_size"))
    return decoder(name, keys, mixer, lambda _: part, tied=True, norms=4, context=131072)
