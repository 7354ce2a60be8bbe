"""Phi-1 and Phi-2, and Phi-3 and Phi-4, which are others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.checkpoint.architecture import Architecture, Native
from berth.checkpoint.config import ModelConfig
from berth.checkpoint.fields import Fields
from berth.checkpoint.hf_keys import partial_rotary, rope_keys
from berth.checkpoint.layers import Attention, Mlp, ModelNumbers
from berth.checkpoint.native import native_config, with_layers
from berth.checkpoint.shapes import decoder, softmax


def phi3(name: str, fields: Fields) -> ModelNumbers:
    mixer = softmax(fields, window=_phi3_window(fields))
    part = Mlp(intermediate=fields.whole("intermediate_size"))
    return decoder(name, fields, lambda _: mixer, lambda _: part, context=4096)


def _phi3_window(fields: Fields) -> int | None:
    """As published; one that is as long as the context cuts nothing."""
    window = fields.maybe("sliding_window")
    length = fields.whole("max_position_embeddings", default=4096)
    return window if window is not None and window < length else None


def phi(name: str, fields: Fields) -> ModelNumbers:
    mixer = softmax(fields, qkv_bias=True, out_bias=True)
    part = Mlp(intermediate=fields.whole("intermediate_size"), gated=False, bias=True)
    return decoder(
        name,
        fields,
        lambda _: mixer,
        lambda _: part,
        norms=1,
        context=2048,
        norm_bias=True,
        head_bias=True,
        missing=("norms of queries and keys",) if fields.flag("qk_layernorm", False) else (),
    )


def _native(
    numbers: ModelNumbers, fields: Fields, generation: Mapping[str, Any] | None
) -> ModelConfig:
    part = partial_rotary(fields)
    mixer = numbers.layers[0].mixer
    assert isinstance(mixer, Attention)
    return native_config(
        "phi3",
        numbers,
        fields,
        generation,
        bos=1,
        eos=(32000,),
        eps=("rms_norm_eps", 1e-5),
        rope=rope_keys(_with_longrope(fields)),
        rotary_dim=None if part == 1.0 else int(mixer.head_dim * part),
    )


def _with_longrope(fields: Fields) -> Fields:
    """Its first files call longrope "su" or "yarn", and leave out the length before it."""
    values = {"original_max_position_embeddings": 4096, **fields.values}
    for key in ("rope_scaling", "rope_parameters"):
        rope = fields.nested(key)
        if rope is not None and (rope.values.get("rope_type") or rope.values.get("type")) in (
            "su",
            "yarn",
        ):
            values[key] = {**rope.values, "rope_type": "longrope"}
    return Fields(values, fields.file)


def _tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    hidden, width = config.hidden_size, config.intermediate_size
    query = config.num_heads * config.head_dim
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (hidden,),
        "self_attn.qkv_proj.weight": (query + 2 * config.num_kv_heads * config.head_dim, hidden),
        "self_attn.o_proj.weight": (hidden, query),
        "post_attention_layernorm.weight": (hidden,),
        "mlp.gate_up_proj.weight": (2 * width, hidden),
        "mlp.down_proj.weight": (hidden, width),
    }
    return with_layers(config, layer)


ARCHITECTURES = (
    Architecture(
        name="Phi3ForCausalLM",
        types=("phi3",),
        sizes=phi3,
        native=Native(name="phi3", module="phi3", config=_native, tensors=_tensors),
    ),
    Architecture(name="PhiForCausalLM", types=("phi",), sizes=phi),
)
