"""Mistral AI's models: Mistral, Ministral 3, Mixtral, Mistral 4."""

from __future__ import annotations

from functools import partial

from berth.checkpoint.architecture import Architecture, Native
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import Attention, Mlp, ModelNumbers, Moe
from berth.checkpoint.native import llama_tensors, native_config
from berth.checkpoint.shapes import decoder, deepseek_part, latent, sliding, softmax


def mistral(name: str, fields: Fields) -> ModelNumbers:
    part = Mlp(intermediate=fields.whole("intermediate_size"))
    # An absent sliding_window is 4096 to transformers; null is none. Both are in published files.
    window = fields.maybe("sliding_window")
    if "sliding_window" not in fields.values:
        window = 4096
    # Ministral's form, which transformers takes from a mistral file too.
    kinds = fields.names("layer_types")

    def mixer(layer: int) -> Attention:
        slides = kinds is None or sliding(fields, layer, kinds, 4096) is not None
        return softmax(fields, kv_heads=8, window=window if slides else None)

    return decoder(name, fields, mixer, lambda _: part, context=131072)


def ministral3(name: str, fields: Fields) -> ModelNumbers:
    mixer = softmax(fields, kv_heads=8, window=fields.maybe("sliding_window"))
    part = Mlp(intermediate=fields.whole("intermediate_size"))
    return decoder(name, fields, lambda _: mixer, lambda _: part, context=262144)


def mixtral(name: str, fields: Fields) -> ModelNumbers:
    mixer = softmax(fields, kv_heads=8, window=fields.maybe("sliding_window"))
    part = Moe(
        experts=fields.whole("num_local_experts", "num_experts", default=8),
        experts_per_token=fields.whole("num_experts_per_tok", default=2),
        intermediate=fields.whole("intermediate_size"),
    )
    return decoder(name, fields, lambda _: mixer, lambda _: part, context=131072)


def mistral4(name: str, fields: Fields) -> ModelNumbers:
    mixer = latent(fields)
    return decoder(
        name,
        fields,
        lambda _: mixer,
        lambda i: deepseek_part(fields, i, 0, correction=False),
        context=1048576,
    )


ARCHITECTURES = (
    Architecture(
        name="MistralForCausalLM",
        types=("mistral",),
        sizes=mistral,
        native=Native(
            name="mistral",
            module="llama",
            config=partial(native_config, "mistral", bos=1, eos=(2,)),
            tensors=llama_tensors,
        ),
    ),
    Architecture(name="Ministral3ForCausalLM", types=("ministral3",), sizes=ministral3),
    Architecture(name="MixtralForCausalLM", types=("mixtral",), sizes=mixtral),
    Architecture(name="Mistral4ForCausalLM", types=("mistral4",), sizes=mistral4),
)
