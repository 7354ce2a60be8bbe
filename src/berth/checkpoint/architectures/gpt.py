"""OpenAI's GPT and GPT-2, and what was made after them: GPT-J, GPT-Neo, GPT-BigCode (StarCoder)."""

from __future__ import annotations

from berth.checkpoint.architecture import Architecture
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import Attention, Mlp, ModelNumbers
from berth.checkpoint.shapes import decoder

_HIDDEN = ("hidden_size", "n_embd")
_HEADS = ("num_attention_heads", "n_head")
_CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx")


def gpt2(name: str, fields: Fields) -> ModelNumbers:
    return _gpt(name, fields, kv_heads=None)


def bigcode(name: str, fields: Fields) -> ModelNumbers:
    return _gpt(name, fields, kv_heads=1 if fields.flag("multi_query", True) else None)


def _gpt(name: str, fields: Fields, *, kv_heads: int | None) -> ModelNumbers:
    context = fields.whole(*_CONTEXT, default=512 if name == "OpenAIGPTLMHeadModel" else 1024)
    mixer = _attention(fields, kv_heads=kv_heads, qkv_bias=True, out_bias=True)
    part = Mlp(intermediate=_inner(fields), gated=False, bias=True)
    return decoder(
        name,
        fields,
        lambda _: mixer,
        lambda _: part,
        tied=True,
        context=context,
        norm_bias=True,
        final_norm=name != "OpenAIGPTLMHeadModel",
        positions=context,
    )


def gptj(name: str, fields: Fields) -> ModelNumbers:
    mixer = _attention(fields)
    part = Mlp(intermediate=_inner(fields), gated=False, bias=True)
    return decoder(
        name,
        fields,
        lambda _: mixer,
        lambda _: part,
        norms=1,
        context=fields.whole(*_CONTEXT, default=2048),
        norm_bias=True,
        head_bias=True,
    )


def gpt_neo(name: str, fields: Fields) -> ModelNumbers:
    hidden = fields.whole("hidden_size", default=2048)
    heads = fields.whole("num_heads", "num_attention_heads", default=16)
    context = fields.whole("max_position_embeddings", default=2048)
    kinds = _kinds(fields, fields.whole("num_layers", "num_hidden_layers", default=24))
    window = fields.whole("window_size", default=256)

    def mixer(layer: int) -> Attention:
        return Attention(
            heads=heads,
            kv_heads=heads,
            head_dim=hidden // heads,
            window=window if kinds[layer] == "local" else None,
            out_bias=True,
        )

    inner = fields.maybe("intermediate_size") or 4 * hidden
    return decoder(
        name,
        fields,
        mixer,
        lambda _: Mlp(intermediate=inner, gated=False, bias=True),
        tied=True,
        context=context,
        norm_bias=True,
        positions=context,
    )


def _kinds(fields: Fields, layers: int) -> list[str]:
    """Of each layer "global" or "local", from attention_types: [[[kind, …], times], …]."""
    types = fields.values.get("attention_types") or [[["global", "local"], (layers + 1) // 2]]
    try:
        kinds = [kind for pattern, times in types for _ in range(times) for kind in pattern]
    except (TypeError, ValueError):
        raise fields.refuse("attention_types", "it must list patterns and their times") from None
    if len(kinds) < layers:
        raise fields.refuse("attention_types", f"it must name each of the {layers} layers")
    return kinds


def _attention(
    fields: Fields, *, kv_heads: int | None = None, qkv_bias: bool = False, out_bias: bool = False
) -> Attention:
    heads = fields.whole(*_HEADS)
    return Attention(
        heads=heads,
        kv_heads=kv_heads or heads,
        head_dim=max(fields.whole(*_HIDDEN) // heads, 1),
        qkv_bias=qkv_bias,
        out_bias=out_bias,
    )


def _inner(fields: Fields) -> int:
    return fields.maybe("n_inner") or 4 * fields.whole(*_HIDDEN)


ARCHITECTURES = (
    Architecture(name="GPT2LMHeadModel", types=("gpt2",), sizes=gpt2),
    Architecture(name="OpenAIGPTLMHeadModel", types=("openai-gpt",), sizes=gpt2),
    Architecture(name="GPTBigCodeForCausalLM", types=("gpt_bigcode",), sizes=bigcode),
    Architecture(name="GPTJForCausalLM", types=("gptj",), sizes=gptj),
    Architecture(name="GPTNeoForCausalLM", types=("gpt_neo",), sizes=gpt_neo),
)
