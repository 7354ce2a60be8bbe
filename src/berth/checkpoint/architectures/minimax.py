"""MiniMax M2."""

from __future__ import annotations

from typing import Literal

from berth.checkpoint.architecture import Architecture
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import ModelNumbers, Moe
from berth.checkpoint.shapes import decoder, softmax


def minimax_m2(name: str, fields: Fields) -> ModelNumbers:
    norm: Literal["whole", "none"] = "whole" if fields.flag("use_qk_norm", True) else "none"
    mixer = softmax(
        fields, kv_heads=8, head_dim=fields.whole("head_dim", default=128), qk_norm=norm
    )
    part = Moe(
        experts=fields.whole("num_local_experts"),
        experts_per_token=fields.whole("num_experts_per_tok"),
        intermediate=fields.whole("intermediate_size"),
        correction=True,
    )
    return decoder(name, fields, lambda _: mixer, lambda _: part, context=196608)


ARCHITECTURES = (
    Architecture(name="MiniMaxM2ForCausalLM", types=("minimax_m2",), sizes=minimax_m2),
)
