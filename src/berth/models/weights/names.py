"""The tensors of each architecture, by Hugging Face's names: their shapes, and for Llama their
names and sharding in Meta's layout."""

from __future__ import annotations

import re

from berth.checkpoint.config import ModelConfig

EMBEDDING = "model.embed_tokens.weight"  # Llama's
HEAD = "lm_head.weight"  # of every architecture
_FALCON_EMBEDDING = "transformer.word_embeddings.weight"

# Hugging Face's name: (Meta's name, dimension along which Meta's shards divide it).
# None: every shard holds the whole tensor. The embedding's dimension depends on the generation:
# Llama 1 and 2 divide the hidden size, Llama 3 the vocabulary; MetaSource reads it off the shapes.
_TOP: dict[str, tuple[str, int | None]] = {
    EMBEDDING: ("tok_embeddings.weight", None),
    "model.norm.weight": ("norm.weight", None),
    HEAD: ("output.weight", 0),
}
_LAYER: dict[str, tuple[str, int | None]] = {
    "self_attn.q_proj.weight": ("attention.wq.weight", 0),
    "self_attn.k_proj.weight": ("attention.wk.weight", 0),
    "self_attn.v_proj.weight": ("attention.wv.weight", 0),
    "self_attn.o_proj.weight": ("attention.wo.weight", 1),
    "mlp.gate_proj.weight": ("feed_forward.w1.weight", 0),
    "mlp.down_proj.weight": ("feed_forward.w2.weight", 1),
    "mlp.up_proj.weight": ("feed_forward.w3.weight", 0),
    "input_layernorm.weight": ("attention_norm.weight", None),
    "post_attention_layernorm.weight": ("ffn_norm.weight", None),
}
_LAYER_NAME = re.compile(r"model\.layers\.(\d+)\.(.+)")


def meta_name(name: str) -> str | None:
    """Meta's name of Hugging Face's `name`; None where Meta's layout has no such tensor."""
    if match := _LAYER_NAME.fullmatch(name):
        entry = _LAYER.get(match[2])
        return f"layers.{match[1]}.{entry[0]}" if entry else None
    return _TOP[name][0] if name in _TOP else None


def meta_shard_dim(name: str) -> int | None:
    """Dimension along which Meta divides Hugging Face's `name`; None: it is whole everywhere."""
    if match := _LAYER_NAME.fullmatch(name):
        return _LAYER[match[2]][1]
    return _TOP[name][1]


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Full shape of every tensor that `config` needs, by Hugging Face's name, in file order.

    The output head is absent where it is tied to the embedding.
    """
    return _falcon_shapes(config) if config.architecture == "falcon" else _llama_shapes(config)


def embedding_name(config: ModelConfig) -> str:
    """The token embedding of `config`, in Hugging Face's layout."""
    return _FALCON_EMBEDDING if config.architecture == "falcon" else EMBEDDING


def _llama_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
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
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocab_size, hidden)}
    for index in range(config.num_layers):
        shapes |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (hidden,)
    if not config.tie_embeddings:
        shapes[HEAD] = (config.vocab_size, hidden)
    return shapes


def _falcon_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    hidden, width = config.hidden_size, config.intermediate_size
    fused = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
    layer: dict[str, tuple[int, ...]] = {}
    for norm in falcon_norms(config):
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
    shapes: dict[str, tuple[int, ...]] = {_FALCON_EMBEDDING: (config.vocab_size, hidden)}
    for index in range(config.num_layers):
        shapes |= {f"transformer.h.{index}.{name}": shape for name, shape in layer.items()}
    shapes |= {"transformer.ln_f.weight": (hidden,), "transformer.ln_f.bias": (hidden,)}
    if not config.tie_embeddings:
        shapes[HEAD] = (config.vocab_size, hidden)
    return shapes


def falcon_norms(config: ModelConfig) -> tuple[str, ...]:
    """The norms of a Falcon layer: attention's, then the MLP's where it has one of its own."""
    if config.norms_per_layer == 1:
        return ("input_layernorm",)
    if config.parallel_attention:
        return ("ln_attn", "ln_mlp")
    return ("input_layernorm", "post_attention_layernorm")
