"""config.json of the architectures whose layers are all of one kind, or nearly."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from berth.checkpoint.keys import Keys
from berth.checkpoint.layers import Attention, FeedForward, Mlp, ModelNumbers, Moe
from berth.checkpoint.shapes import decoder, deepseek_part, latent, sliding, softmax


def llama(name: str, keys: Keys) -> ModelNumbers:
    bias = keys.flag("attention_bias", False)
    mixer = softmax(keys, qkv_bias=bias, out_bias=bias)
    part = Mlp(intermediate=keys.whole("intermediate_size"), bias=keys.flag("mlp_bias", False))
    return decoder(name, keys, lambda _: mixer, lambda _: part, context=2048)


def smollm3(name: str, keys: Keys) -> ModelNumbers:
    bias = keys.flag("attention_bias", False)
    mixer = softmax(keys, kv_heads=4, qkv_bias=bias, out_bias=bias)
    part = Mlp(intermediate=keys.whole("intermediate_size"), bias=keys.flag("mlp_bias", False))
    return decoder(name, keys, lambda _: mixer, lambda _: part, tied=True, context=32768)


def mistral(name: str, keys: Keys) -> ModelNumbers:
    # An absent sliding_window is 4096 to transformers; null is none. Both are in published files.
    window = keys.maybe("sliding_window") if "sliding_window" in keys.values else 4096
    mixer = softmax(keys, kv_heads=8, window=window)
    part = Mlp(intermediate=keys.whole("intermediate_size"))
    return decoder(name, keys, lambda _: mixer, lambda _: part, context=131072)


def ministral3(name: str, keys: Keys) -> ModelNumbers:
    mixer = softmax(keys, kv_heads=8, window=keys.maybe("sliding_window"))
    part = Mlp(intermediate=keys.whole("intermediate_size"))
    return decoder(name, keys, lambda _: mixer, lambda _: part, context=262144)


def mixtral(name: str, keys: Keys) -> ModelNumbers:
    mixer = softmax(keys, kv_heads=8, window=keys.maybe("sliding_window"))
    part = Moe(
        experts=keys.whole("num_local_experts", "num_experts", default=8),
        experts_per_token=keys.whole("num_experts_per_tok", default=2),
        intermediate=keys.whole("intermediate_size"),
    )
    return decoder(name, keys, lambda _: mixer, lambda _: part, context=131072)


def _qwen_window(keys: Keys, layer: int) -> int | None:
    if kinds := keys.names("layer_types"):
        return sliding(keys, layer, kinds, 4096)
    if not keys.flag("use_sliding_window", False):
        return None
    return (
        keys.maybe("sliding_window")
        if layer >= keys.whole("max_window_layers", default=28)
        else None
    )


def qwen2(name: str, keys: Keys) -> ModelNumbers:
    # Qwen 2's files keep a sliding_window that use_sliding_window turns off.
    part = Mlp(intermediate=keys.whole("intermediate_size"))
    return decoder(
        name,
        keys,
        lambda i: softmax(keys, kv_heads=32, window=_qwen_window(keys, i), qkv_bias=True),
        lambda _: part,
        context=32768,
    )


def qwen3(name: str, keys: Keys) -> ModelNumbers:
    bias = keys.flag("attention_bias", False)
    dim = keys.whole("head_dim", default=128)

    def mixer(layer: int) -> Attention:
        window = _qwen_window(keys, layer)
        return softmax(
            keys,
            kv_heads=32,
            head_dim=dim,
            window=window,
            qkv_bias=bias,
            out_bias=bias,
            qk_norm="head",
        )

    part = Mlp(intermediate=keys.whole("intermediate_size"))
    return decoder(name, keys, mixer, lambda _: part, context=32768)


def qwen3_moe(name: str, keys: Keys) -> ModelNumbers:
    bias = keys.flag("attention_bias", False)
    mixer = softmax(keys, kv_heads=4, qkv_bias=bias, out_bias=bias, qk_norm="head")
    step = max(keys.whole("decoder_sparse_step", default=1), 1)
    dense = set(keys.values.get("mlp_only_layers") or ())
    experts = Moe(
        experts=keys.whole("num_experts", "num_local_experts", default=128),
        experts_per_token=keys.whole("num_experts_per_tok", default=8),
        intermediate=keys.whole("moe_intermediate_size", default=768),
    )

    def part(layer: int) -> FeedForward:
        if layer in dense or (layer + 1) % step:
            return Mlp(intermediate=keys.whole("intermediate_size"))
        return experts

    return decoder(name, keys, lambda _: mixer, part, context=32768)


def phi3(name: str, keys: Keys) -> ModelNumbers:
    mixer = softmax(keys, window=_phi3_window(keys))
    part = Mlp(intermediate=keys.whole("intermediate_size"))
    return decoder(name, keys, lambda _: mixer, lambda _: part, context=4096)


def _phi3_window(keys: Keys) -> int | None:
    """As published; one that is as long as the context cuts nothing."""
    window = keys.maybe("sliding_window")
    length = keys.whole("max_position_embeddings", default=4096)
    return window if window is not None and window < length else None


def gemma(name: str, keys: Keys) -> ModelNumbers:
    bias = keys.flag("attention_bias", False)
    dim = keys.whole("head_dim", default=256)
    mixer = softmax(keys, kv_heads=16, head_dim=dim, qkv_bias=bias, out_bias=bias)
    part = Mlp(intermediate=keys.whole("intermediate_size"))
    return decoder(name, keys, lambda _: mixer, lambda _: part, tied=True, context=8192)


def gemma2(name: str, keys: Keys) -> ModelNumbers:
    kinds = keys.names("layer_types")
    bias = keys.flag("attention_bias", False)

    def mixer(layer: int) -> Attention:
        window = (
            sliding(keys, layer, kinds, 4096)
            if kinds
            else None
            if layer % 2
            else keys.whole("sliding_window", default=4096)
        )
        dim = keys.whole("head_dim", default=256)
        return softmax(keys, kv_heads=4, head_dim=dim, window=window, qkv_bias=bias, out_bias=bias)

    part = Mlp(intermediate=keys.whole("intermediate_size"))
    return decoder(name, keys, mixer, lambda _: part, tied=True, norms=4, context=8192)


def falcon(name: str, keys: Keys) -> ModelNumbers:
    hidden = keys.whole("hidden_size", "n_embed")
    heads = keys.whole("num_attention_heads", "n_head")
    bias = keys.flag("bias", False)
    new = keys.flag("new_decoder_architecture", keys.has("n_head_kv"))
    parallel = new or keys.flag("parallel_attn", True)
    if new:
        kv_heads = keys.whole("num_kv_heads", "n_head_kv", default=heads)
    else:
        kv_heads = 1 if keys.flag("multi_query", True) else heads
    mixer = Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=hidden // max(heads, 1),
        qkv_bias=bias,
        out_bias=bias,
    )
    wide = keys.whole("ffn_hidden_size", default=4 * hidden)
    part = Mlp(intermediate=wide, gated=False, bias=bias)
    norms = keys.whole("num_ln_in_parallel_attn", default=2) if new else 1 if parallel else 2
    return decoder(
        name,
        keys,
        lambda _: mixer,
        lambda _: part,
        tied=True,
        norms=norms,
        context=2048,
        norm_bias=True,
    )


def gpt_oss(name: str, keys: Keys) -> ModelNumbers:
    kinds = keys.names("layer_types")
    bias = keys.flag("attention_bias", True)

    def mixer(layer: int) -> Attention:
        if kinds:
            window = sliding(keys, layer, kinds, 128)
        else:
            window = None if layer % 2 else keys.whole("sliding_window", default=128)
        return softmax(
            keys,
            kv_heads=8,
            head_dim=keys.whole("head_dim", default=64),
            window=window,
            qkv_bias=bias,
            out_bias=bias,
            sinks=True,
        )

    part = Moe(
        experts=keys.whole("num_local_experts", "num_experts", default=128),
        experts_per_token=keys.whole("num_experts_per_tok", "experts_per_token", default=4),
        intermediate=keys.whole("intermediate_size"),
        bias=True,
        router_bias=True,
    )
    return decoder(name, keys, mixer, lambda _: part, context=131072)


def deepseek_v3(name: str, keys: Keys) -> ModelNumbers:
    mixer = latent(keys)
    return decoder(
        name,
        keys,
        lambda _: mixer,
        lambda i: deepseek_part(keys, i, 3),
        context=4096,
    )


def minimax_m2(name: str, keys: Keys) -> ModelNumbers:
    norm: Literal["whole", "none"] = "whole" if keys.flag("use_qk_norm", True) else "none"
    mixer = softmax(keys, kv_heads=8, head_dim=keys.whole("head_dim", default=128), qk_norm=norm)
    part = Moe(
        experts=keys.whole("num_local_experts"),
        experts_per_token=keys.whole("num_experts_per_tok"),
        intermediate=keys.whole("intermediate_size"),
        correction=True,
    )
    return decoder(name, keys, lambda _: mixer, lambda _: part, context=196608)


def bert(name: str, keys: Keys) -> ModelNumbers:
    heads, hidden = keys.whole("num_attention_heads"), keys.whole("hidden_size")
    mixer = Attention(
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // max(heads, 1),
        causal=False,
        qkv_bias=True,
        out_bias=True,
    )
    part = Mlp(intermediate=keys.whole("intermediate_size"), gated=False, bias=True)
    positions = keys.whole("max_position_embeddings", default=512)
    roberta = "Roberta" in name
    numbers = decoder(
        name,
        keys,
        lambda _: mixer,
        lambda _: part,
        context=512,
        head=False,
        norm_bias=True,
        final_norm=False,
        embedding_norm=True,
        positions=positions,
        pooler=True,
        token_types=keys.whole("type_vocab_size", default=2),
    )
    if not roberta:
        return numbers
    # RoBERTa counts positions from its padding index on, so two rows are never used.
    return replace(numbers, context=positions - 1 - keys.whole("pad_token_id", default=1))
