"""EleutherAI's GPT-NeoX and Pythia, and StableLM after it."""

from __future__ import annotations

from berth.checkpoint.architecture import Architecture
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import Mlp, ModelNumbers
from berth.checkpoint.shapes import decoder, every_head, softmax


def gpt_neox(name: str, fields: Fields) -> ModelNumbers:
    bias = fields.flag("attention_bias", True)
    mixer = every_head(fields, qkv_bias=bias, out_bias=bias)
    part = Mlp(intermediate=fields.whole("intermediate_size"), gated=False, bias=True)
    return decoder(name, fields, lambda _: mixer, lambda _: part, context=2048, norm_bias=True)


def stablelm(name: str, fields: Fields) -> ModelNumbers:
    mixer = softmax(fields, qkv_bias=fields.flag("use_qkv_bias", False))
    part = Mlp(intermediate=fields.whole("intermediate_size"))
    missing = ("norms of queries and keys",) if fields.flag("qk_layernorm", False) else ()
    return decoder(
        name,
        fields,
        lambda _: mixer,
        lambda _: part,
        norms=1 if fields.flag("use_parallel_residual", False) else 2,
        context=4096,
        norm_bias=True,
        missing=missing,
    )


ARCHITECTURES = (
    Architecture(name="GPTNeoXForCausalLM", types=("gpt_neox",), sizes=gpt_neox),
    Architecture(name="StableLmForCausalLM", types=("stablelm",), sizes=stablelm),
)
