"""Llama and its relatives that differ by configuration alone: Granite, SmolLM3."""

from __future__ import annotations

from functools import partial

from berth.checkpoint.architecture import Architecture, Native
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import Mlp, ModelNumbers
from berth.checkpoint.native import llama_tensors, native_config
from berth.checkpoint.shapes import decoder, softmax


def llama(name: str, fields: Fields) -> ModelNumbers:
    bias = fields.flag("attention_bias", False)
    mixer = softmax(fields, qkv_bias=bias, out_bias=bias)
    part = Mlp(intermediate=fields.whole("intermediate_size"), bias=fields.flag("mlp_bias", False))
    return decoder(name, fields, lambda _: mixer, lambda _: part, context=2048)


def smollm3(name: str, fields: Fields) -> ModelNumbers:
    bias = fields.flag("attention_bias", False)
    mixer = softmax(fields, kv_heads=4, qkv_bias=bias, out_bias=bias)
    part = Mlp(intermediate=fields.whole("intermediate_size"), bias=fields.flag("mlp_bias", False))
    return decoder(name, fields, lambda _: mixer, lambda _: part, tied=True, context=32768)


ARCHITECTURES = (
    Architecture(
        name="LlamaForCausalLM",
        types=("llama",),
        spelt=("LLaMAForCausalLM",),  # the first conversions of Llama 1
        sizes=llama,
        native=Native(
            name="llama",
            module="llama",
            config=partial(native_config, "llama", bos=1, eos=(2,)),
            tensors=llama_tensors,
        ),
    ),
    Architecture(name="GraniteForCausalLM", types=("granite",), sizes=llama),
    Architecture(name="SmolLM3ForCausalLM", types=("smollm3",), sizes=smollm3),
)
