"""Mamba and Mamba 2: a state of fixed size in place of a cache."""

from __future__ import annotations

from berth.checkpoint.architecture import Architecture
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import ModelNumbers, StateSpace
from berth.checkpoint.shapes import decoder


def mamba(name: str, fields: Fields) -> ModelNumbers:
    hidden = fields.whole("hidden_size", "d_model", default=768)
    rank = fields.values.get("time_step_rank", "auto")
    inner = fields.maybe("intermediate_size") or fields.whole("expand", default=2) * hidden
    mixer = StateSpace(
        heads=inner,
        head_dim=1,
        state=fields.whole("state_size", default=16),
        groups=0,
        conv_kernel=fields.whole("conv_kernel", default=4),
        conv_bias=fields.flag("use_conv_bias", True),
        bias=fields.flag("use_bias", False),
        rank=-(-hidden // 16) if rank == "auto" else fields.whole("time_step_rank"),
    )
    return decoder(name, fields, lambda _: mixer, lambda _: None, tied=True, norms=1)


def mamba2(name: str, fields: Fields) -> ModelNumbers:
    mixer = StateSpace(
        heads=fields.whole("num_heads", default=128),
        head_dim=fields.whole("head_dim", default=64),
        state=fields.whole("state_size", default=128),
        groups=fields.whole("n_groups", default=8),
        conv_kernel=fields.whole("conv_kernel", default=4),
        conv_bias=fields.flag("use_conv_bias", True),
        bias=fields.flag("use_bias", False),
    )
    return decoder(name, fields, lambda _: mixer, lambda _: None, norms=1)


ARCHITECTURES = (
    Architecture(name="MambaForCausalLM", types=("mamba",), sizes=mamba),
    Architecture(name="Mamba2ForCausalLM", types=("mamba2",), sizes=mamba2),
)
