"""What many config.json parsers share: plain decoders, and attention by its usual fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from berth.checkpoint.fields import Fields
from berth.checkpoint.hf_keys import dtype_of, original_length
from berth.checkpoint.layers import (
    Attention,
    FeedForward,
    LatentAttention,
    Layer,
    Mixer,
    Mlp,
    ModelNumbers,
    Moe,
)
from berth.checkpoint.packed import packing_of


def decoder(
    name: str,
    fields: Fields,
    mixer: Callable[[int], Mixer],
    part: Callable[[int], FeedForward | None],
    *,
    tied: bool = False,
    norms: int = 2,
    context: int | None = None,
    **more: Any,
) -> ModelNumbers:
    """A decoder, `mixer` and `part` by layer; `tied` and `context` if the file is silent."""
    count = fields.whole("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    return ModelNumbers(
        architecture=name,
        hidden=fields.whole("hidden_size", "n_embed", "n_embd", "d_model"),
        vocab=fields.whole("vocab_size"),
        layers=tuple(
            Layer(mixer=mixer(index), feed_forward=part(index), norms=norms)
            for index in range(count)
        ),
        context=context_of(fields, context),
        tied=fields.flag("tie_word_embeddings", tied),
        dtype=dtype_of(fields),
        quantization=packing_of(fields),
        unused=predictors(fields),
        **more,
    )


def predictors(fields: Fields) -> tuple[str, ...]:
    """Layers for multi-token prediction: stored, and left out unless an engine is set to it."""
    count = fields.count("num_nextn_predict_layers", "mtp_num_hidden_layers", default=0)
    return (f"{count} layers for multi-token prediction",) if count else ()


def context_of(fields: Fields, default: int | None) -> int | None:
    """Tokens that the model was made for, after any scaling that its file asks for."""
    length = fields.whole("max_position_embeddings", default=default or 0) or None
    rope = fields.nested("rope_scaling") or fields.nested("rope_parameters")
    kind = None if rope is None else rope.values.get("rope_type") or rope.values.get("type")
    if not length or rope is None:
        return length
    if kind == "linear":
        # There the key keeps the length before it (transformers' convention, and Vicuna-16k's
        # file); llama3's files give the length after it.
        return int(length * rope.number("factor"))
    if kind == "yarn" and rope.has("factor") and (before := original_length(fields, rope)):
        # Qwen's pages have their readers add the scaling, and leave the length unchanged.
        return max(length, int(before * rope.number("factor")))
    return length


def sliding(fields: Fields, layer: int, kinds: list[str], default: int | None = None) -> int | None:
    """How far back a layer looks, by `layer_types`."""
    layers = fields.whole("num_hidden_layers")
    if not set(kinds) <= {"full_attention", "sliding_attention"}:
        raise fields.refuse("layer_types", "known are full_attention and sliding_attention")
    if len(kinds) != layers:
        raise fields.refuse("layer_types", f"it must name each of the {layers} layers")
    if kinds[layer] != "sliding_attention":
        return None
    return fields.whole("sliding_window", default=default)


def softmax(fields: Fields, *, kv_heads: int | None = None, **more: Any) -> Attention:
    """Attention whose head_dim is hidden / heads unless the file says otherwise."""
    heads = fields.whole("num_attention_heads")
    default = heads if kv_heads is None else kv_heads
    dim = more.pop("head_dim", None) or fields.maybe("head_dim")
    if dim is None:
        hidden = fields.whole("hidden_size")
        if hidden % heads:
            raise fields.refuse(
                "hidden_size",
                f"it must be a multiple of num_attention_heads ({heads}) if head_dim is not given",
            )
        dim = hidden // heads
    kv = fields.whole("num_key_value_heads", default=default)
    return Attention(heads=heads, kv_heads=kv, head_dim=dim, **more)


def every_head(fields: Fields, **more: Any) -> Attention:
    """Attention that keeps keys and values of every head, whatever num_key_value_heads says."""
    heads = fields.whole("num_attention_heads", "n_head", "n_heads")
    hidden = fields.whole("hidden_size", "n_embed", "n_embd", "d_model")
    return Attention(heads=heads, kv_heads=heads, head_dim=max(hidden // heads, 1), **more)


def latent(fields: Fields, **more: Any) -> LatentAttention:
    """DeepSeek's attention by its published keys."""
    return LatentAttention(
        heads=fields.whole("num_attention_heads"),
        kv_lora_rank=fields.whole("kv_lora_rank"),
        q_lora_rank=fields.maybe("q_lora_rank"),
        qk_nope_head_dim=fields.whole("qk_nope_head_dim"),
        qk_rope_head_dim=fields.whole("qk_rope_head_dim"),
        v_head_dim=fields.whole("v_head_dim"),
        bias=fields.flag("attention_bias", False),
        **more,
    )


def deepseek_part(
    fields: Fields, layer: int, dense: int, *, correction: bool = True
) -> FeedForward:
    """Dense in the first layers, experts after them; `dense` of them if the file is silent."""
    if layer < fields.count("first_k_dense_replace", default=dense):
        return Mlp(intermediate=fields.whole("intermediate_size"))
    size = fields.whole("moe_intermediate_size")
    return Moe(
        experts=fields.whole("n_routed_experts", "num_local_experts", "num_experts"),
        experts_per_token=fields.whole("num_experts_per_tok"),
        intermediate=size,
        correction=correction,
        shared=size * fields.count("n_shared_experts", default=0),
    )
