"""Falcon's config.json, of all its generations, as a ModelConfig. No torch.

falcon-rw has as many kv heads as heads, ALiBi, biases, and attention and MLP one after the other;
falcon-7b one kv head, rotary positions, and attention and MLP side by side behind one norm;
falcon-40b and -180b ("new decoder") groups of heads with a kv head each, and a norm for each side;
falcon-11B (Falcon 2) the same behind one norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.checkpoint.config import ModelConfig
from berth.checkpoint.fields import Fields
from berth.checkpoint.hf_keys import end_tokens, number_format, reach, rope_keys

_BOS_AND_EOS = 11  # of transformers' FalconConfig, and of every published Falcon but Falcon 3


def falcon_config(fields: Fields, generation: Mapping[str, Any] | None) -> ModelConfig:
    """The Falcon that `fields` describe.

    Raises:
        ConfigError: as `hf.from_hf`; also for combinations that transformers computes not
            at all, such as a new decoder whose attention is not parallel.
    """
    if fields.values.get("activation") not in (None, "gelu"):
        raise fields.refuse("activation", "only gelu is computed")
    heads = fields.whole("num_attention_heads")
    hidden = fields.whole("hidden_size")
    if hidden % heads:
        raise fields.refuse("hidden_size", f"it must be a multiple of num_attention_heads {heads}")
    alibi = fields.flag("alibi", False)
    theta, scaling = (10000.0, None) if alibi else rope_keys(fields)
    parallel = _parallel_attention(fields)
    biased = fields.flag("bias", False)
    return ModelConfig(
        architecture="falcon",
        vocab_size=fields.whole("vocab_size"),
        hidden_size=hidden,
        intermediate_size=fields.whole("ffn_hidden_size", 4 * hidden),
        num_layers=fields.whole("num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=_kv_heads(fields, heads),
        head_dim=hidden // heads,
        max_position=reach(fields.whole("max_position_embeddings", 2048), scaling),
        norm_eps=fields.number("layer_norm_epsilon", 1e-5),
        rope_theta=theta,
        rope_scaling=scaling,
        alibi=alibi,
        parallel_attention=parallel,
        norms_per_layer=_norms(fields) if parallel else 2,
        qkv_bias=biased,
        out_bias=biased,
        mlp_bias=biased,
        tie_embeddings=fields.flag("tie_word_embeddings", True),
        bos_id=fields.token("bos_token_id", _BOS_AND_EOS),
        eos_ids=end_tokens(fields, generation, (_BOS_AND_EOS,)),
        dtype=number_format(fields),
    )


def _new_decoder(fields: Fields) -> bool:
    return fields.flag("new_decoder_architecture", False)


def _kv_heads(fields: Fields, heads: int) -> int:
    if _new_decoder(fields):
        return fields.whole("num_kv_heads", heads)
    if fields.flag("multi_query", True):
        return 1  # whatever num_kv_heads says: falcon-7b's file says 71
    if fields.whole("num_kv_heads", heads) != heads:
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
    norms = fields.whole("num_ln_in_parallel_attn", 2 if new else 1)
    if norms > 2 or (norms == 2 and not new):
        allowed = "1 or 2" if new else "1 without new_decoder_architecture"
        raise fields.refuse("num_ln_in_parallel_attn", f"it must be {allowed}")
    return norms
