"""Falcon, of all its generations.

falcon-rw has as many kv heads as heads, ALiBi, biases, and attention and MLP one after the other;
falcon-7b one kv head, rotary positions, and attention and MLP side by side behind one norm;
falcon-40b and -180b ("new decoder") groups of heads with a kv head each, and a norm for each side;
falcon-11B (Falcon 2) the same behind one norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.checkpoint.architecture import Architecture, Native
from berth.checkpoint.config import ModelConfig
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import Attention, Mlp, ModelNumbers
from berth.checkpoint.native import HEAD, native_config
from berth.checkpoint.shapes import decoder

_BOS_AND_EOS = 11  # of transformers' FalconConfig, and of every published Falcon but Falcon 3
EMBEDDING = "transformer.word_embeddings.weight"


def falcon(name: str, fields: Fields) -> ModelNumbers:
    hidden = fields.whole("hidden_size", "n_embed")
    heads = fields.whole("num_attention_heads", "n_head")
    if hidden % heads:
        raise fields.refuse("hidden_size", f"it must be a multiple of num_attention_heads {heads}")
    bias = fields.flag("bias", False)
    parallel = _parallel_attention(fields)
    mixer = Attention(
        heads=heads,
        kv_heads=_kv_heads(fields, heads),
        head_dim=hidden // heads,
        qkv_bias=bias,
        out_bias=bias,
    )
    wide = fields.whole("ffn_hidden_size", default=4 * hidden)
    part = Mlp(intermediate=wide, gated=False, bias=bias)
    return decoder(
        name,
        fields,
        lambda _: mixer,
        lambda _: part,
        tied=True,
        norms=_norms(fields) if parallel else 2,
        context=2048,
        norm_bias=True,
    )


def _new_decoder(fields: Fields) -> bool:
    return fields.flag("new_decoder_architecture", fields.has("n_head_kv"))


def _kv_heads(fields: Fields, heads: int) -> int:
    if _new_decoder(fields):
        return fields.whole("num_kv_heads", "n_head_kv", default=heads)
    if fields.flag("multi_query", True):
        return 1  # whatever num_kv_heads says: falcon-7b's file says 71
    if fields.whole("num_kv_heads", default=heads) != heads:
        raise fields.refuse(
            "num_kv_heads",
            f"without multi_query and new_decoder_architecture it must be {heads}, the number of "
            "attention heads",
        )
    return heads


def _parallel_attention(fields: Fields) -> bool:
    parallel = fields.flag("parallel_attn", True)
    if _new_decoder(fields) and not parallel:
        raise fields.refuse("parallel_attn", "with new_decoder_architecture it must be true")
    return parallel


def _norms(fields: Fields) -> int:
    """Norms of a layer whose attention and MLP are side by side."""
    new = _new_decoder(fields)
    norms = fields.whole("num_ln_in_parallel_attn", default=2 if new else 1)
    if norms > 2 or (norms == 2 and not new):
        allowed = "1 or 2" if new else "1 without new_decoder_architecture"
        raise fields.refuse("num_ln_in_parallel_attn", f"it must be {allowed}")
    return norms


def _native(
    numbers: ModelNumbers, fields: Fields, generation: Mapping[str, Any] | None
) -> ModelConfig:
    if fields.values.get("activation") not in (None, "gelu"):
        raise fields.refuse("activation", "only gelu is computed")
    alibi = fields.flag("alibi", False)
    return native_config(
        "falcon",
        numbers,
        fields,
        generation,
        bos=_BOS_AND_EOS,
        eos=(_BOS_AND_EOS,),
        activations=(),
        eps=("layer_norm_epsilon", 1e-5),
        rope={} if alibi else None,
        alibi=alibi,
        parallel_attention=_parallel_attention(fields),
    )


def norm_names(config: ModelConfig) -> tuple[str, ...]:
    """The norms of a Falcon layer: attention's, then the MLP's if it has one of its own."""
    if config.norms_per_layer == 1:
        return ("input_layernorm",)
    if config.parallel_attention:
        return ("ln_attn", "ln_mlp")
    return ("input_layernorm", "post_attention_layernorm")


def _tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    hidden, width = config.hidden_size, config.intermediate_size
    fused = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
    layer: dict[str, tuple[int, ...]] = {}
    for norm in norm_names(config):
        layer |= {f"{norm}.weight": (hidden,), f"{norm}.bias": (hidden,)}
    layer["self_attention.query_key_value.weight"] = (fused, hidden)
    layer["self_attention.dense.weight"] = (hidden, config.num_heads * config.head_dim)
    layer["mlp.dense_h_to_4h.weight"] = (width, hidden)
    layer["mlp.dense_4h_to_h.weight"] = (hidden, width)
    if config.qkv_bias:
        layer["self_attention.query_key_value.bias"] = (fused,)
    if config.out_bias:
        layer["self_attention.dense.bias"] = (hidden,)
    if config.mlp_bias:
        layer["mlp.dense_h_to_4h.bias"] = (width,)
        layer["mlp.dense_4h_to_h.bias"] = (hidden,)
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocab_size, hidden)}
    for index in range(config.num_layers):
        shapes |= {f"transformer.h.{index}.{name}": shape for name, shape in layer.items()}
    shapes |= {"transformer.ln_f.weight": (hidden,), "transformer.ln_f.bias": (hidden,)}
    if not config.tie_embeddings:
        shapes[HEAD] = (config.vocab_size, hidden)
    return shapes


ARCHITECTURES = (
    Architecture(
        name="FalconForCausalLM",
        types=("falcon",),
        sizes=falcon,
        native=Native(
            name="falcon",
            module="falcon",
            config=_native,
            tensors=_tensors,
            embedding=EMBEDDING,
            base="transformer.",
        ),
    ),
    Architecture(name="RWForCausalLM", sizes=falcon),  # Falcon's first files
)
