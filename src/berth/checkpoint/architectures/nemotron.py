"""Nemotron-H: state spaces, attention and experts in one model."""

from __future__ import annotations

from berth.checkpoint.architecture import Architecture
from berth.checkpoint.errors import ConfigError
from berth.checkpoint.fields import Fields
from berth.checkpoint.hf_keys import dtype_of
from berth.checkpoint.layers import FeedForward, Layer, Mixer, Mlp, ModelNumbers, Moe, StateSpace
from berth.checkpoint.shapes import context_of, predictors, softmax

# One letter a layer, as published; the words are transformers' old and new ones.
_NEMOTRON = {
    "M": "M", "mamba": "M", "linear_attention": "M",
    "*": "*", "attention": "*", "full_attention": "*",
    "E": "E", "moe": "E",
    "-": "-", "mlp": "-",
}  # fmt: skip


def nemotron_h(name: str, fields: Fields) -> ModelNumbers:
    pattern = fields.text("hybrid_override_pattern")
    words = list(pattern) if pattern else fields.names("layers_block_type")
    if not words:
        raise ConfigError("hybrid_override_pattern is missing; it should have a letter a layer")
    if unknown := sorted(set(words) - set(_NEMOTRON)):
        raise ConfigError(f"hybrid_override_pattern holds {unknown[0]!r}, which is not known")
    quantization = fields.nested("quantization_config")
    return ModelNumbers(
        architecture=name,
        hidden=fields.whole("hidden_size"),
        vocab=fields.whole("vocab_size"),
        layers=tuple(_nemotron_layer(fields, _NEMOTRON[word]) for word in words),
        context=context_of(fields, 4096),
        tied=fields.flag("tie_word_embeddings", False),
        dtype=dtype_of(fields),
        quantization=quantization.text("quant_method") if quantization else None,
        unused=predictors(fields),
    )


def _nemotron_layer(fields: Fields, kind: str) -> Layer:
    mixer: Mixer | None = None
    part: FeedForward | None = None
    if kind == "M":
        mixer = StateSpace(
            heads=fields.whole("mamba_num_heads", default=128),
            head_dim=fields.whole("mamba_head_dim", default=64),
            state=fields.whole("ssm_state_size", default=128),
            groups=fields.whole("mamba_n_groups", "n_groups", default=8),
            conv_kernel=fields.whole("mamba_d_conv", "conv_kernel", default=4),
            conv_bias=fields.flag("use_conv_bias", True),
            bias=fields.flag("use_bias", False),
        )
    elif kind == "*":
        dim = fields.whole("head_dim", "attention_head_dim", default=128)
        mixer = softmax(fields, kv_heads=8, head_dim=dim)
    elif kind == "E":
        part = Moe(
            experts=fields.whole("n_routed_experts"),
            experts_per_token=fields.whole("num_experts_per_tok"),
            intermediate=fields.whole("moe_intermediate_size"),
            gated=False,
            correction=True,
            shared=fields.count("moe_shared_expert_intermediate_size", default=0),
            latent=fields.maybe("moe_latent_size"),
        )
    else:
        part = Mlp(
            intermediate=fields.whole("intermediate_size"),
            gated=False,
            bias=fields.flag("mlp_bias", False),
        )
    return Layer(mixer=mixer, feed_forward=part, norms=1)


ARCHITECTURES = (
    Architecture(name="NemotronHForCausalLM", types=("nemotron_h",), sizes=nemotron_h),
)
