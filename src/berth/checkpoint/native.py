"""What the native engine computes of a config.json: the parts that its architectures share.

The sizes come from the same ModelNumbers that fit uses; here are added the keys that change what
is computed and not how large it is, and what is not computed is refused by key and value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from berth.checkpoint.config import ModelConfig
from berth.checkpoint.errors import ConfigError
from berth.checkpoint.fields import Fields, validated
from berth.checkpoint.hf_keys import (
    end_tokens,
    number_format,
    refuse_partial_rotary,
    rope_keys,
)
from berth.checkpoint.layers import Attention, Mlp, ModelNumbers
from berth.checkpoint.packed import packed_layers

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"  # of every architecture
_SILU = ("silu", "swish")


def native_config(
    name: str,
    numbers: ModelNumbers,
    fields: Fields,
    generation: Mapping[str, Any] | None,
    *,
    bos: int | None = None,
    eos: tuple[int, ...] = (),
    activations: Collection[str] = _SILU,
    eps: tuple[str, float] = ("rms_norm_eps", 1e-6),
    rope: Mapping[str, Any] | None = None,
    **more: Any,
) -> ModelConfig:
    """The ModelConfig of a decoder whose layers differ by their windows alone.

    Args:
        name: the native engine's name of the architecture.
        bos, eos: token ids if neither file has them.
        activations: values of hidden_act that the model's module computes; "" if the
            architecture reads another key.
        eps: the key of the norms' epsilon, and its default.
        rope: the fields of ModelConfig about rotation, if the usual keys do not say them.
        more: further fields of ModelConfig.

    Raises:
        ConfigError: a key is missing or malformed, or asks for what is not computed.
    """
    packed = packed_layers(fields)
    if activations:
        _refuse_other_activations(fields, activations)
    mixer, part = _alike(numbers, fields)
    if rope is None:
        refuse_partial_rotary(fields)
        rope = rope_keys(fields)
    windows = tuple(_attention(layer.mixer, fields).window for layer in numbers.layers)
    if numbers.context is None:
        raise fields.missing("max_position_embeddings", "a whole number above zero")
    settings: dict[str, Any] = {
        "architecture": name,
        "vocab_size": numbers.vocab,
        "hidden_size": numbers.hidden,
        "intermediate_size": part.intermediate,
        "num_layers": len(numbers.layers),
        "num_heads": mixer.heads,
        "num_kv_heads": mixer.kv_heads,
        "head_dim": mixer.head_dim,
        "max_position": numbers.context,
        "norm_eps": fields.number(*eps),
        "norms_per_layer": numbers.layers[0].norms,
        "windows": windows if any(windows) else (),
        "qkv_bias": mixer.qkv_bias,
        "out_bias": mixer.out_bias,
        "mlp_bias": part.bias,
        "qk_norm": mixer.qk_norm == "head",
        "gated_mlp": part.gated,
        "norm_bias": numbers.norm_bias,
        "tie_embeddings": numbers.tied,
        "bos_id": fields.token("bos_token_id", bos),
        "eos_ids": end_tokens(fields, generation, eos),
        "dtype": number_format(fields),
    }
    return validated(ModelConfig(**(settings | packed | dict(rope) | more)), fields.file)


def _refuse_other_activations(fields: Fields, known: Collection[str]) -> None:
    activation = fields.values.get("hidden_act")
    if activation is not None and activation not in known:
        raise fields.refuse("hidden_act", f"only {' and '.join(known)} is computed")


def _alike(numbers: ModelNumbers, fields: Fields) -> tuple[Attention, Mlp]:
    """The attention and the MLP that all layers have, but for the windows."""
    if not numbers.layers:
        raise fields.refuse("num_hidden_layers", "it must be a whole number above zero")
    first = numbers.layers[0]
    if not isinstance(first.feed_forward, Mlp):
        raise ConfigError(f"{fields.file}: mixtures of experts are not computed")
    return _attention(first.mixer, fields), first.feed_forward


def _attention(mixer: object, fields: Fields) -> Attention:
    if not isinstance(mixer, Attention):
        raise ConfigError(f"{fields.file}: only softmax attention is computed")
    return mixer


def llama_tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Full shape of every tensor of a Llama-like `config`, by Hugging Face's name, in file order.

    The output head is absent if it is tied to the embedding.
    """
    return with_layers(config, llama_layer(config))


def llama_layer(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Full shape of every tensor of one layer, by its name within the layer."""
    hidden, width = config.hidden_size, config.intermediate_size
    query = config.num_heads * config.head_dim
    key = config.num_kv_heads * config.head_dim
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (hidden,),
        "self_attn.q_proj.weight": (query, hidden),
        "self_attn.k_proj.weight": (key, hidden),
        "self_attn.v_proj.weight": (key, hidden),
        "self_attn.o_proj.weight": (hidden, query),
        "post_attention_layernorm.weight": (hidden,),
        "mlp.gate_proj.weight": (width, hidden),
        "mlp.up_proj.weight": (width, hidden),
        "mlp.down_proj.weight": (hidden, width),
    }
    if config.qkv_bias:
        layer["self_attn.q_proj.bias"] = (query,)
        layer["self_attn.k_proj.bias"] = (key,)
        layer["self_attn.v_proj.bias"] = (key,)
    if config.out_bias:
        layer["self_attn.o_proj.bias"] = (hidden,)
    if config.mlp_bias:
        layer["mlp.gate_proj.bias"] = (width,)
        layer["mlp.up_proj.bias"] = (width,)
        layer["mlp.down_proj.bias"] = (hidden,)
    if config.qk_norm:
        layer["self_attn.q_norm.weight"] = (config.head_dim,)
        layer["self_attn.k_norm.weight"] = (config.head_dim,)
    return layer


def with_layers(
    config: ModelConfig, layer: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """Embedding, `layer` for each layer, final norm, and the head unless it is tied."""
    hidden = config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocab_size, hidden)}
    for index in range(config.num_layers):
        shapes |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (hidden,)
    if not config.tie_embeddings:
        shapes[HEAD] = (config.vocab_size, hidden)
    return shapes
