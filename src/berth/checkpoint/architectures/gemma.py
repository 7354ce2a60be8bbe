"""Gemma, of all its generations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from berth.checkpoint.architecture import Architecture, Native
from berth.checkpoint.config import ModelConfig
from berth.checkpoint.errors import ConfigError
from berth.checkpoint.fields import Fields
from berth.checkpoint.hf_keys import rope_scaling
from berth.checkpoint.layers import Attention, FeedForward, Mlp, ModelNumbers, Moe, Tensor
from berth.checkpoint.native import llama_layer, native_config, with_layers
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

    return decoder(
        name,
        _gemma_vocab(fields, 262208),
        mixer,
        lambda _: part,
        tied=True,
        norms=4,
        context=131072,
        rotations=2,
    )


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


_GELU = ("gelu_pytorch_tanh", "gelu_new")


def _native_gemma2(
    numbers: ModelNumbers, fields: Fields, generation: Mapping[str, Any] | None
) -> ModelConfig:
    return _native("gemma2", numbers, fields, generation, attention_softcap=_cap(fields, 50.0))


def _native_gemma3(
    numbers: ModelNumbers, fields: Fields, generation: Mapping[str, Any] | None
) -> ModelConfig:
    if fields.values.get("use_bidirectional_attention"):
        raise fields.refuse("use_bidirectional_attention", "only causal attention is computed")
    if fields.has("attn_logit_softcapping"):
        raise fields.refuse("attn_logit_softcapping", "Gemma 3 caps no scores; it must be null")
    rope, local = _rope_by_layer(fields)
    return _native("gemma3", numbers, fields, generation, rope=rope, rope_local_theta=local)


def _native(
    name: str,
    numbers: ModelNumbers,
    fields: Fields,
    generation: Mapping[str, Any] | None,
    **more: Any,
) -> ModelConfig:
    activation = fields.values.get("hidden_activation", "gelu_pytorch_tanh")
    if activation not in _GELU:
        raise fields.refuse("hidden_activation", f"only {' and '.join(_GELU)} is computed")
    mixer = numbers.layers[0].mixer
    assert isinstance(mixer, Attention)
    scalar = fields.number("query_pre_attn_scalar", 256.0)
    default = 30.0 if name == "gemma2" else None
    return native_config(
        name,
        numbers,
        fields,
        generation,
        bos=2,
        eos=(1,),
        activations=(),
        embedding_scale=numbers.hidden**0.5,
        query_scale=(mixer.head_dim / scalar) ** 0.5,
        logit_softcap=_cap(fields, default, "final_logit_softcapping"),
        **more,
    )


def _cap(
    fields: Fields, default: float | None, key: str = "attn_logit_softcapping"
) -> float | None:
    """What caps scores or logits; null in the file is none."""
    if (default is None and not fields.has(key)) or fields.is_null(key):
        return None
    return fields.number(key, default)


def _rope_by_layer(fields: Fields) -> tuple[dict[str, Any], float]:
    """The rotation of layers that see everything, and the base of those with a window."""
    both = fields.nested("rope_parameters")
    if both is None or not (both.has("full_attention") or both.has("sliding_attention")):
        # transformers 4's keys. What stretches there stretches the first kind alone.
        rope = fields.nested("rope_scaling")
        whole = {
            "rope_theta": fields.number("rope_theta", 1_000_000.0),
            "rope_scaling": None if rope is None else rope_scaling(fields, rope),
        }
        return whole, fields.number("rope_local_base_freq", 10_000.0)
    full = both.nested("full_attention") or Fields({}, fields.file)
    local = both.nested("sliding_attention") or Fields({}, fields.file)
    if local.values.get("rope_type", "default") != "default":
        raise local.refuse("rope_type", "layers with a window must not be stretched")
    whole = {
        "rope_theta": full.number("rope_theta", 1_000_000.0),
        "rope_scaling": rope_scaling(fields, full),
    }
    return whole, local.number("rope_theta", 10_000.0)


def _tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    norms = {
        f"{name}_feedforward_layernorm.weight": (config.hidden_size,) for name in ("pre", "post")
    }
    return with_layers(config, llama_layer(config) | norms)


ARCHITECTURES = (
    Architecture(name="GemmaForCausalLM", types=("gemma",), sizes=gemma),
    Architecture(
        name="Gemma2ForCausalLM",
        types=("gemma2",),
        sizes=gemma2,
        native=Native(name="gemma2", module="gemma", config=_native_gemma2, tensors=_tensors),
    ),
    Architecture(
        name="Gemma3ForCausalLM",
        types=("gemma3_text",),
        sizes=gemma3,
        native=Native(name="gemma3", module="gemma", config=_native_gemma3, tensors=_tensors),
    ),
    Architecture(
        name="Gemma4ForCausalLM", types=("gemma4_text", "gemma4_unified_text"), sizes=gemma4
    ),
)
