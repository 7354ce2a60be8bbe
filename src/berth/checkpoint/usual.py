"""Sizes of a decoder whose class is not known, by the keys that most configurations share. Pure.

Only what a token keeps and computes follows from them: the weights' bytes must come from the
files' headers, and a note says so.
"""

from __future__ import annotations

from berth.checkpoint.fields import Fields
from berth.checkpoint.hf_keys import dtype_of
from berth.checkpoint.layers import Attention, Layer, Mlp, ModelNumbers

# transformers' configuration classes map their own names to the first of each by attribute_map.
_HIDDEN = ("hidden_size", "n_embd", "d_model", "n_embed", "dim", "model_dim", "emb_dim")
_LAYERS = (
    *("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    *("decoder_layers", "num_decoder_layers"),
)
_HEADS = (
    *("num_attention_heads", "n_head", "n_heads", "num_heads"),
    *("decoder_attention_heads", "num_decoder_attention_heads"),
)
_KV_HEADS = ("num_key_value_heads", "n_head_kv", "num_kv_heads", "multi_query_group_num")
_INNER = ("intermediate_size", "n_inner", "ffn_dim", "d_ff", "ffn_hidden_size", "decoder_ffn_dim")
_VOCABULARY = ("vocab_size", "n_words")
_CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")


def usual_sizes(name: str, fields: Fields) -> ModelNumbers | None:
    """The sizes of a decoder by the usual keys; None if the file has not even those.

    Raises:
        ConfigError: one of them is malformed.
    """
    inner = fields.nested("text_config") or fields
    if not (inner.has(*_HIDDEN) and inner.has(*_LAYERS) and inner.has(*_VOCABULARY)):
        return None
    hidden = inner.whole(*_HIDDEN)
    heads = inner.maybe(*_HEADS)
    width = inner.maybe(*_INNER) or 4 * hidden
    mixer = None
    if heads is not None:
        mixer = Attention(
            heads=heads,
            kv_heads=inner.whole(*_KV_HEADS, default=heads),
            head_dim=inner.maybe("head_dim") or max(hidden // heads, 1),
        )
    quantised = fields.nested("quantization_config")
    layer = Layer(mixer=mixer, feed_forward=Mlp(intermediate=width, gated=False))
    return ModelNumbers(
        architecture=name,
        hidden=hidden,
        vocab=inner.whole(*_VOCABULARY),
        layers=(layer,) * inner.whole(*_LAYERS),
        context=inner.maybe(*_CONTEXT),
        tied=True,  # so that nothing is counted which the files may not hold
        dtype=dtype_of(fields) or dtype_of(inner),
        quantization=quantised.text("quant_method") if quantised else None,
        missing=(f"the tensors of {name}, of which only the files' bytes are known",),
    )
