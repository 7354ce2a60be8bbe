"""What many config.json parsers share: plain decoders, and attention by its usual keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from berth.checkpoint.keys import Keys
from berth.checkpoint.layers import (
    Attention,
    FeedForward,
    LatentAttention,
    Layer,
    Mixer,
    Mlp,
    ModelNumbers,
    Moe,
    NumbersError,
)

Parser = Callable[[str, Keys], ModelNumbers]


def decoder(
    name: str,
    keys: Keys,
    mixer: Callable[[int], Mixer],
    part: Callable[[int], FeedForward],
    *,
    tied: bool = False,
    norms: int = 2,
    context: int | None = None,
    **more: Any,
) -> ModelNumbers:
    """A decoder, `mixer` and `part` by layer; `tied` and `context` where the file is silent."""
    quantization = keys.under("quantization_config")
    return ModelNumbers(
        architecture=name,
        hidden=keys.whole("hidden_size", "n_embed", "d_model"),
        vocab=keys.whole("vocab_size"),
        layers=tuple(
            Layer(mixer=mixer(index), feed_forward=part(index), norms=norms)
            for index in range(keys.whole("num_hidden_layers", "n_layer"))
        ),
        context=context_of(keys, context),
        tied=keys.flag("tie_word_embeddings", tied),
        dtype=keys.text("dtype") or keys.text("torch_dtype"),
        quantization=quantization.text("quant_method") if quantization else None,
        unused=predictors(keys),
        **more,
    )


def predictors(keys: Keys) -> tuple[str, ...]:
    """Layers for multi-token prediction: stored, and left out unless an engine is told."""
    count = keys.whole("num_nextn_predict_layers", "mtp_num_hidden_layers", default=0)
    return (f"{count} layers for multi-token prediction",) if count else ()


def context_of(keys: Keys, default: int | None) -> int | None:
    """Tokens that the model was made for, after any scaling that its file asks for."""
    length = keys.whole("max_position_embeddings", default=default or 0) or None
    scaling = keys.under("rope_scaling") or keys.under("rope_parameters")
    if length and scaling and (scaling.text("rope_type") or scaling.text("type")) == "linear":
        factor = scaling.values.get("factor")  # under linear scaling the key keeps the old length
        if isinstance(factor, int | float) and not isinstance(factor, bool) and factor >= 1:
            return int(length * factor)
    return length


def sliding(keys: Keys, layer: int, kinds: list[str], default: int | None = None) -> int | None:
    """How far back a layer looks, by `layer_types`."""
    if layer >= len(kinds):
        raise NumbersError(f"layer_types names {len(kinds)} layers; it should name all of them")
    if kinds[layer] != "sliding_attention":
        return None
    return keys.whole("sliding_window", default=default)


def softmax(keys: Keys, *, kv_heads: int | None = None, **more: Any) -> Attention:
    """Attention whose head_dim is hidden / heads unless the file says otherwise."""
    heads = keys.whole("num_attention_heads")
    default = heads if kv_heads is None else kv_heads
    dim = more.pop("head_dim", None) or keys.whole(
        "head_dim", default=keys.whole("hidden_size") // max(heads, 1)
    )
    kv = keys.whole("num_key_value_heads", default=default)
    return Attention(heads=heads, kv_heads=kv, head_dim=dim, **more)


def latent(keys: Keys, **more: Any) -> LatentAttention:
    """DeepSeek's attention by its published keys."""
    return LatentAttention(
        heads=keys.whole("num_attention_heads"),
        kv_lora_rank=keys.whole("kv_lora_rank"),
        q_lora_rank=keys.maybe("q_lora_rank"),
        qk_nope_head_dim=keys.whole("qk_nope_head_dim"),
        qk_rope_head_dim=keys.whole("qk_rope_head_dim"),
        v_head_dim=keys.whole("v_head_dim"),
        bias=keys.flag("attention_bias", False),
        **more,
    )


def deepseek_part(keys: Keys, layer: int, dense: int, *, correction: bool = True) -> FeedForward:
    """Dense in the first layers, experts after them; `dense` of them where the file is silent."""
    if layer < keys.whole("first_k_dense_replace", default=dense):
        return Mlp(intermediate=keys.whole("intermediate_size"))
    size = keys.whole("moe_intermediate_size")
    return Moe(
        experts=keys.whole("n_routed_experts", "num_local_experts", "num_experts"),
        experts_per_token=keys.whole("num_experts_per_tok"),
        intermediate=size,
        correction=correction,
        shared=size * keys.whole("n_shared_experts", default=0),
    )
