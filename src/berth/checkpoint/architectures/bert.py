"""Encoders: BERT and XLM-RoBERTa."""

from __future__ import annotations

from dataclasses import replace

from berth.checkpoint.architecture import Architecture
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import Attention, Mlp, ModelNumbers
from berth.checkpoint.shapes import decoder


def bert(name: str, fields: Fields) -> ModelNumbers:
    heads, hidden = fields.whole("num_attention_heads"), fields.whole("hidden_size")
    mixer = Attention(
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // max(heads, 1),
        causal=False,
        qkv_bias=True,
        out_bias=True,
    )
    part = Mlp(intermediate=fields.whole("intermediate_size"), gated=False, bias=True)
    positions = fields.whole("max_position_embeddings", default=512)
    roberta = "Roberta" in name
    numbers = decoder(
        name,
        fields,
        lambda _: mixer,
        lambda _: part,
        context=512,
        head=False,
        norm_bias=True,
        final_norm=False,
        embedding_norm=True,
        positions=positions,
        pooler=True,
        token_types=fields.count("type_vocab_size", default=2),
    )
    if not roberta:
        return numbers
    # RoBERTa counts positions from its padding index on, so two rows are never used.
    return replace(numbers, context=positions - 1 - fields.count("pad_token_id", default=1))


ARCHITECTURES = (
    Architecture(name="BertModel", types=("bert",), sizes=bert),
    Architecture(name="XLMRobertaModel", types=("xlm-roberta",), sizes=bert),
)
