"""DeepSeek V3 and its relatives (Kimi K2, Mistral Large 3), V3.2 and GLM 5: latent attention."""

from __future__ import annotations

from berth.checkpoint.architecture import Architecture
from berth.checkpoint.errors import ConfigError
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import LatentAttention, ModelNumbers
from berth.checkpoint.shapes import decoder, deepseek_part, latent


def deepseek_v3(name: str, fields: Fields) -> ModelNumbers:
    mixer = latent(fields)
    return decoder(
        name,
        fields,
        lambda _: mixer,
        lambda i: deepseek_part(fields, i, 3),
        context=4096,
    )


def sparse_latent(name: str, fields: Fields) -> ModelNumbers:
    """DeepSeek V3.2 and GLM 5: latent attention with an indexer that picks what to attend to."""
    indexers = _indexers(fields)

    def mixer(layer: int) -> LatentAttention:
        return latent(
            fields,
            index_heads=fields.whole("index_n_heads", default=64),
            index_head_dim=fields.whole("index_head_dim", default=128),
            index_topk=fields.whole("index_topk", default=2048),
            shared_index=indexers[layer] == "shared",
        )

    return decoder(name, fields, mixer, lambda i: deepseek_part(fields, i, 3), context=163840)


def _indexers(fields: Fields) -> list[str]:
    """Of each layer, whether it picks ("full") or keeps an earlier layer's choice ("shared")."""
    layers = fields.whole("num_hidden_layers")
    if named := fields.names("indexer_types"):
        kinds = named
    elif pattern := fields.text("index_topk_pattern"):
        kinds = ["shared" if letter == "S" else "full" for letter in pattern]
    else:
        step = max(fields.count("index_topk_freq", default=1), 1)
        first = fields.count("index_skip_topk_offset", default=2) - 1
        kinds = ["shared" if max(i - first, 0) % step else "full" for i in range(layers)]
    if len(kinds) != layers:
        raise ConfigError(f"indexer_types should name each of the {layers} layers")
    return kinds


ARCHITECTURES = (
    Architecture(name="DeepseekV3ForCausalLM", types=("deepseek_v3", "kimi_k2"), sizes=deepseek_v3),
    Architecture(name="MistralLarge3ForCausalLM", sizes=deepseek_v3),
    Architecture(name="DeepseekV32ForCausalLM", sizes=sparse_latent),
    Architecture(name="GlmMoeDsaForCausalLM", sizes=sparse_latent),
)
