"""Gemma, of all its generations."""

from __future__ import annotations

from dataclasses import replace

from berth.checkpoint.architecture import Architecture
from berth.checkpoint.errors import ConfigError
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import Attention, FeedForward, Mlp, ModelNumbers, Moe, Tensor
from berth.checkpoint.shapes import decoder, sliding, softmax


def gemma(name: str, fields: Fields) -> ModelNumbers:
    bias = fields.flag("attention_bias", False)
    dim = fields.whole("head_dim", default=256)
    mixer = softmax(fields, kv_heads=16, head_dim=dim, qkv_bias=bias, out_bias=bias)
    part = Mlp(intermediate=fields.whole("intermediate_size"))
    return decoder(name, fields, lambda _: mixer, lambda _: part, tied=True, context=8192)


def gemma2(name: str, fields: Fields) -> ModelNumbers:
    kinds = fields.names("layer_types")
    bias = fields.flag("attention_bias", False)

    def mixer(layer: int) -> Attention:
        window = (
            sliding(fields, layer, kinds, 4096)
            if kinds
            else None
            if layer % 2
            else fields.whole("sliding_window", default=4096)
        )
        dim = fields.whole("head_dim", default=256)
        return softmax(
            fields, kv_heads=4, head_dim=dim, window=window, qkv_bias=bias, out_bias=bias
        )

    part = Mlp(intermediate=fields.whole("intermediate_size"))
    return decoder(name, fields, mixer, lambda _: part, tied=True, norms=4, context=8192)


def gemma3(name: str, fields: Fields) -> ModelNumbers:
    kinds = _five_to_one(fields)
    bias = fields.flag("attention_bias", False)
    part = Mlp(intermediate=fields.whole("intermediate_size"))

    def mixer(layer: int) -> Attention:
        return Attention(
            heads=fields.whole("num_attention_heads", default=8),
            kv_heads=fields.whole("num_key_value_heads", default=4),
            head_dim=fields.whole("head_dim", default=256),
            window=sliding(fields, layer, kinds, 4096),
            qkv_bias=bias,
            out_bias=bias,
            qk_norm="head",
        )

    numbers = decoder(
        name,
        _gemma_vocab(fields, 262208),
        mixer,
        lambda _: part,
        tied=True,
        norms=4,
        context=131072,
    )
    return numbers


def _gemma_vocab(fields: Fields, default: int) -> Fields:
    """Gemma's files may leave the vocabulary's size out."""
    return fields if fields.has("vocab_size") else Fields({**fields.values, "vocab_size": default})


def _five_to_one(fields: Fields) -> list[str]:
    """Which layers slide: as listed, else five of six."""
    if kinds := fields.names("layer_types"):
        return kinds
    pattern = max(fields.count("sliding_window_pattern", default=6), 1)
    layers = fields.whole("num_hidden_layers")
    return ["sliding_attention" if (i + 1) % pattern else "full_attention" for i in range(layers)]


def gemma4(name: str, fields: Fields) -> ModelNumbers:
    kinds = _five_to_one(fields)
    layers = fields.whole("num_hidden_layers")
    own = layers - fields.count("num_kv_shared_layers", default=0)
    if len(kinds) != layers or own < 0:
        raise ConfigError(f"layer_types should name each of the {layers} layers")
    kinds[-1:] = ["full_attention"]
    width = fields.whole("hidden_size")
    per_layer = fields.count("hidden_size_per_layer_input", default=256)
    numbers = decoder(
        name,
        _gemma_vocab(fields, 262144),
        lambda i: _gemma4_attention(fields, i, kinds, own),
        lambda i: _gemma4_part(fields, shared=i >= own),
        tied=True,
        norms=4,
        context=131072,
    )
    experts = fields.flag("enable_moe_block", False)
    return replace(
        numbers,
        layers=tuple(
            replace(
                layer,
                norms=4 + (1 if per_layer else 0) + (3 if experts else 0),
                extra=_gemma4_extra(index, width, per_layer, layer.feed_forward),
            )
            for index, layer in enumerate(numbers.layers)
        ),
        extra=_gemma4_inputs(fields, layers, width, per_layer),
    )


def _gemma4_attention(fields: Fields, layer: int, kinds: list[str], own: int) -> Attention:
    """Full layers have larger heads, and may use their keys as values; late ones reuse a cache."""
    slides = kinds[layer] == "sliding_attention"
    same = fields.flag("attention_k_eq_v", False) and not slides
    kv_heads = fields.whole("num_key_value_heads", default=4)
    source = None
    if layer >= own:
        same_kind = [i for i in range(own) if kinds[i] == kinds[layer]]
        if not same_kind:
            raise ConfigError("num_kv_shared_layers leaves no layer whose cache could be shared")
        source = same_kind[-1]
    bias = fields.flag("attention_bias", False)
    return Attention(
        heads=fields.whole("num_attention_heads", default=8),
        kv_heads=fields.whole("num_global_key_value_heads", default=kv_heads) if same else kv_heads,
        head_dim=fields.whole("head_dim", default=256)
        if slides
        else fields.whole("global_head_dim", default=512),
        window=fields.whole("sliding_window", default=512) if slides else None,
        qkv_bias=bias,
        out_bias=bias,
        qk_norm="head",
        value_is_key=same,
        cache_of=source,
    )


def _gemma4_part(fields: Fields, *, shared: bool) -> FeedForward:
    double = shared and fields.flag("use_double_wide_mlp", False)
    size = fields.whole("intermediate_size") * (2 if double else 1)
    if not fields.flag("enable_moe_block", False):
        return Mlp(intermediate=size)
    return Moe(
        experts=fields.whole("num_experts"),
        experts_per_token=fields.whole("top_k_experts"),
        intermediate=fields.whole("moe_intermediate_size"),
        dense=size,
    )


def _gemma4_extra(
    layer: int, width: int, per_layer: int, part: FeedForward | None
) -> tuple[Tensor, ...]:
    name = f"layers.{layer}"
    found = [Tensor(f"{name}.scalar", (1,), dtype="vector", layer=layer)]
    if per_layer:
        found.append(Tensor(f"{name}.input_gate", (per_layer, width), layer=layer))
        found.append(Tensor(f"{name}.input_projection", (width, per_layer), layer=layer))
    if isinstance(part, Moe):
        found.append(Tensor(f"{name}.router_scale", (width,), dtype="vector", layer=layer))
        found.append(Tensor(f"{name}.expert_scale", (part.experts,), dtype="vector", layer=layer))
    return tuple(found)


def _gemma4_inputs(fields: Fields, layers: int, width: int, per_layer: int) -> tuple[Tensor, ...]:
    if not per_layer:
        return ()
    vocab = fields.whole("vocab_size_per_layer_input", default=262144)
    wide = layers * per_layer
    return (
        Tensor("per_layer.embedding", (vocab, wide), 0, vocab, "embedding"),
        Tensor("per_layer.projection", (wide, width)),
        Tensor("per_layer.norm", (per_layer,), dtype="vector"),
    )


ARCHITECTURES = (
    Architecture(name="GemmaForCausalLM", types=("gemma",), sizes=gemma),
    Architecture(name="Gemma2ForCausalLM", types=("gemma2",), sizes=gemma2),
    Architecture(name="Gemma3ForCausalLM", types=("gemma3_text",), sizes=gemma3),
    Architecture(
        name="Gemma4ForCausalLM", types=("gemma4_text", "gemma4_unified_text"), sizes=gemma4
    ),
)
