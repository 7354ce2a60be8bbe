"""GLM 4.5 and its relatives: experts behind a few dense layers. GLM 5 is in deepseek.py."""

from __future__ import annotations

from berth.checkpoint.architecture import Architecture
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import ModelNumbers
from berth.checkpoint.shapes import decoder, deepseek_part, softmax


def glm4_moe(name: str, fields: Fields) -> ModelNumbers:
    mixer = softmax(
        fields,
        kv_heads=8,
        qkv_bias=fields.flag("attention_bias", False),
        qk_norm="head" if fields.flag("use_qk_norm", False) else "none",
    )
    return decoder(
        name, fields, lambda _: mixer, lambda i: deepseek_part(fields, i, 1), context=131072
    )


ARCHITECTURES = (Architecture(name="Glm4MoeForCausalLM", types=("glm4_moe",), sizes=glm4_moe),)
