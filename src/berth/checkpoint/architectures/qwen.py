"""Qwen 2, 3 and 3.5, dense and with experts, and Qwen3-Next."""

from __future__ import annotations

from functools import partial

from berth.checkpoint.architecture import Architecture, Native
from berth.checkpoint.errors import ConfigError
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import (
    Attention,
    FeedForward,
    LinearAttention,
    Mixer,
    Mlp,
    ModelNumbers,
    Moe,
)
from berth.checkpoint.native import llama_tensors, native_config
from berth.checkpoint.shapes import decoder, sliding, softmax


def _qwen_window(fields: Fields, layer: int) -> int | None:
    """How far back a layer looks, as transformers' configuration class derives it."""
    slides = fields.flag("use_sliding_window", False) and not fields.is_null("sliding_window")
    if (kinds := fields.names("layer_types")) is not None:
        if sliding(fields, layer, kinds, 4096) is None:
            return None
        if not slides:
            raise fields.refuse(
                "layer_types", "sliding layers need use_sliding_window true and a sliding_window"
            )
    elif not slides or layer < fields.count("max_window_layers", default=28):
        # Zero is sensible there: every layer slides.
        return None
    return fields.whole("sliding_window", default=4096)


def qwen2(name: str, fields: Fields) -> ModelNumbers:
    # Qwen 2's files keep a sliding_window that use_sliding_window turns off.
    part = Mlp(intermediate=fields.whole("intermediate_size"))
    return decoder(
        name,
        fields,
        lambda i: softmax(fields, kv_heads=32, window=_qwen_window(fields, i), qkv_bias=True),
        lambda _: part,
        context=32768,
    )


def qwen3(name: str, fields: Fields) -> ModelNumbers:
    bias = fields.flag("attention_bias", False)
    dim = fields.whole("head_dim", default=128)

    def mixer(layer: int) -> Attention:
        window = _qwen_window(fields, layer)
        return softmax(
            fields,
            kv_heads=32,
            head_dim=dim,
            window=window,
            qkv_bias=bias,
            out_bias=bias,
            qk_norm="head",
        )

    part = Mlp(intermediate=fields.whole("intermediate_size"))
    return decoder(name, fields, mixer, lambda _: part, context=32768)


def qwen3_moe(name: str, fields: Fields) -> ModelNumbers:
    bias = fields.flag("attention_bias", False)
    mixer = softmax(fields, kv_heads=4, qkv_bias=bias, out_bias=bias, qk_norm="head")
    step = max(fields.count("decoder_sparse_step", default=1), 1)
    dense = set(fields.values.get("mlp_only_layers") or ())
    experts = Moe(
        experts=fields.whole("num_experts", "num_local_experts", default=128),
        experts_per_token=fields.whole("num_experts_per_tok", default=8),
        intermediate=fields.whole("moe_intermediate_size", default=768),
    )

    def part(layer: int) -> FeedForward:
        if layer in dense or (layer + 1) % step:
            return Mlp(intermediate=fields.whole("intermediate_size"))
        return experts

    return decoder(name, fields, lambda _: mixer, part, context=32768)


def qwen3_5(name: str, fields: Fields) -> ModelNumbers:
    """Qwen 3.5, and Qwen3-Next before it: three layers of linear attention to one of softmax."""
    kinds = fields.names("layer_types")
    every = max(fields.count("full_attention_interval", default=4), 1)
    bias = fields.flag("attention_bias", False)

    def mixer(layer: int) -> Mixer:
        full = kinds[layer] == "full_attention" if kinds else (layer + 1) % every == 0
        if full:
            return softmax(
                fields,
                kv_heads=4 if "Moe" not in name else 2,
                head_dim=fields.whole("head_dim", default=256),
                qkv_bias=bias,
                out_bias=bias,
                qk_norm="head",
                gated=True,
            )
        return LinearAttention(
            key_heads=fields.whole("linear_num_key_heads", default=16),
            value_heads=fields.whole("linear_num_value_heads", default=32),
            key_dim=fields.whole("linear_key_head_dim", default=128),
            value_dim=fields.whole("linear_value_head_dim", default=128),
            conv_kernel=fields.whole("linear_conv_kernel_dim", default=4),
        )

    if kinds is not None and len(kinds) != fields.whole("num_hidden_layers"):
        raise ConfigError("layer_types should name each of the layers")
    part = _qwen_experts(fields) if fields.has("num_experts") else _qwen_mlp(fields)
    return decoder(name, fields, mixer, lambda _: part, context=32768)


def _qwen_mlp(fields: Fields) -> Mlp:
    return Mlp(intermediate=fields.whole("intermediate_size"))


def _qwen_experts(fields: Fields) -> Moe:
    shared = fields.count("shared_expert_intermediate_size", default=512)
    return Moe(
        experts=fields.whole("num_experts"),
        experts_per_token=fields.whole("num_experts_per_tok"),
        intermediate=fields.whole("moe_intermediate_size"),
        shared=shared,
        shared_gate=shared > 0,
    )


ARCHITECTURES = (
    Architecture(
        name="Qwen2ForCausalLM",
        types=("qwen2",),
        sizes=qwen2,
        native=Native(
            name="qwen2",
            module="llama",
            config=partial(native_config, "qwen2"),
            tensors=llama_tensors,
        ),
    ),
    Architecture(
        name="Qwen3ForCausalLM",
        types=("qwen3",),
        sizes=qwen3,
        native=Native(
            name="qwen3",
            module="llama",
            config=partial(native_config, "qwen3"),
            tensors=llama_tensors,
        ),
    ),
    Architecture(name="Qwen3MoeForCausalLM", types=("qwen3_moe",), sizes=qwen3_moe),
    Architecture(name="Qwen3NextForCausalLM", types=("qwen3_next",), sizes=qwen3_5),
    Architecture(name="Qwen3_5ForCausalLM", types=("qwen3_5_text",), sizes=qwen3_5),
    Architecture(name="Qwen3_5MoeForCausalLM", types=("qwen3_5_moe_text",), sizes=qwen3_5),
)
