"""Meta's params.json to and from a ModelConfig. Pure: dictionaries in, values out.

The file says less than a model needs. What it leaves out is taken from the models that Meta
published with it; `to_meta` writes down whatever differs from that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.checkpoint.config import ModelConfig, RopeScaling
from berth.checkpoint.errors import ConfigError
from berth.checkpoint.fields import Fields, validated

# Keys of checkpoints that this engine cannot compute, and what they are.
_FOREIGN = {
    "yarn": "this stretching of rotary positions is not computed",
    "rope_scaling": "this stretching of rotary positions is not computed",
    "llama_4_scaling": "scaled queries are not computed",
    "use_qk_norm": "norms of queries and keys are not read from Meta's layout",
    "qk_norm": "norms of queries and keys are not read from Meta's layout",
    "use_biases": "biases are not read from Meta's layout",
    "tied_embeddings": "a tied output head is not read from Meta's layout",
    "tie_embeddings": "a tied output head is not read from Meta's layout",
    "attn_window_pattern": "windows that differ between layers are not read from Meta's layout",
    "quantization": "quantised weights are not read; use the bfloat16 checkpoint",
    "quantization_args": "quantised weights are not read; use the bfloat16 checkpoint",
    "lora_args": "adapters are not read; use the bfloat16 checkpoint",
    "moe": "mixtures of experts are not computed",
    "moe_args": "mixtures of experts are not computed",
    "vision_chunk_size": "image models are not computed",
    "vision_encoder": "image models are not computed",
    "vision_args": "image models are not computed",
}
_LLAMA_3_VOCABULARY = 128256
# Llama 3.2's 1B and 3B: as (dim, n_layers). Meta publishes them with a rope factor of 32, all
# others of 3.1 and 3.2 with 8; params.json has only "use_scaled_rope" for both.
_FACTOR_32 = {(2048, 16), (3072, 28)}


def from_meta(
    params: Mapping[str, Any],
    *,
    vocab_size: int | None = None,
    dtype: str = "bfloat16",
    file: str = "params.json",
) -> ModelConfig:
    """The model that a params.json describes.

    Beyond Meta's keys it reads Mistral's (head_dim, hidden_dim, sliding_window) and those with
    which `to_meta` fills gaps (max_seq_len, rope_scaling_factor, bos_id, eos_ids).

    Args:
        params: the content of params.json.
        vocab_size: rows of tok_embeddings; needed if the file says -1, as Llama 1 and 2 do.
        dtype: what the tensors are stored in.
        file: what error messages call it.

    Raises:
        ConfigError: a key is missing or malformed, or asks for what this engine does not compute.
    """
    fields = Fields(params, file)
    for key, why in _FOREIGN.items():
        if fields.values.get(key):  # null, false and an empty object ask for nothing
            raise fields.refuse(key, why)
    if fields.values.get("causal") is False:
        raise fields.refuse("causal", "encoders are not computed")
    dim, heads, layers = fields.whole("dim"), fields.whole("n_heads"), fields.whole("n_layers")
    if not fields.has("head_dim") and dim % heads:
        raise fields.refuse("dim", f"it must be a multiple of n_heads ({heads})")
    vocabulary = _vocabulary(fields, vocab_size)
    scaling = _scaling(fields, dim, layers)
    window = fields.whole("sliding_window") if fields.has("sliding_window") else None
    llama3 = vocabulary == _LLAMA_3_VOCABULARY
    return validated(
        ModelConfig(
            architecture="llama" if window is None else "mistral",
            vocab_size=vocabulary,
            hidden_size=dim,
            intermediate_size=_intermediate_size(fields, dim),
            num_layers=layers,
            num_heads=heads,
            num_kv_heads=fields.whole("n_kv_heads", default=heads),
            head_dim=fields.whole("head_dim", default=max(dim // heads, 1)),
            max_position=_max_position(fields, scaling),
            norm_eps=fields.number("norm_eps", 1e-5),
            rope_theta=fields.number("rope_theta", 10000.0),
            rope_scaling=scaling,
            rope_interleaved=True,
            windows=() if window is None else (window,) * layers,
            bos_id=fields.token("bos_id", 128000 if llama3 else 1),
            # Llama 3 ends a text, a message to a tool, or a turn.
            eos_ids=fields.tokens("eos_ids", (128001, 128008, 128009) if llama3 else (2,)),
            dtype=dtype,
        ),
        file,
    )


def _vocabulary(fields: Fields, rows: int | None) -> int:
    if fields.values.get("vocab_size", -1) != -1:
        return fields.whole("vocab_size")
    if rows is None:
        raise ConfigError(
            f"{fields.file}: vocab_size is not given; it must be given if there is "
            "no tok_embeddings tensor, whose rows are counted otherwise"
        )
    return rows


def _intermediate_size(fields: Fields, dim: int) -> int:
    """Width of the MLP: Meta's rounding of 8/3 of the hidden size, or Mistral's plain number."""
    if fields.has("hidden_dim"):
        return fields.whole("hidden_dim")
    width = int(2 * (4 * dim) / 3)
    if fields.has("ffn_dim_multiplier"):
        width = int(fields.number("ffn_dim_multiplier") * width)
    multiple = fields.whole("multiple_of", default=256)
    return multiple * ((width + multiple - 1) // multiple)


def _scaling(fields: Fields, dim: int, layers: int) -> RopeScaling | None:
    if not fields.flag("use_scaled_rope", False):
        return None
    published = 32.0 if (dim, layers) in _FACTOR_32 else 8.0
    return RopeScaling(
        kind="llama3",
        factor=fields.number("rope_scaling_factor", published),
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position=8192,
    )


def _max_position(fields: Fields, scaling: RopeScaling | None) -> int:
    """Tokens of context; from the generation that the other numbers belong to, if not given."""
    for key in ("max_seq_len", "max_position_embeddings"):  # Meta's name, and Mistral's
        if fields.has(key):
            return fields.whole(key)
    if scaling is not None:
        return 131072  # Llama 3.1 and 3.2
    if fields.has("sliding_window") or fields.has("hidden_dim"):
        return 32768  # Mistral 7B
    theta = fields.number("rope_theta", 10000.0)
    if theta == 500000.0:
        return 8192  # Llama 3
    if theta == 1000000.0:
        return 16384  # Code Llama
    # Llama 1 has the smaller epsilon, but for its 65B, which in Llama 2 has grouped heads.
    first = fields.number("norm_eps", 1e-5) == 1e-6 or (
        fields.values.get("dim") == 8192 and not fields.has("n_kv_heads")
    )
    return 2048 if first else 4096


def to_meta(config: ModelConfig) -> dict[str, Any]:
    """A params.json from which `from_meta` reads `config` again.

    Only Meta's own keys if they suffice, so that Meta's code can read it too.

    Raises:
        ConfigError: Meta's layout has no way to say what `config` holds; names it.
    """
    _refuse_what_meta_cannot_say(config)
    params: dict[str, Any] = {
        "dim": config.hidden_size,
        "n_layers": config.num_layers,
        "n_heads": config.num_heads,
        "n_kv_heads": config.num_kv_heads,
        "vocab_size": config.vocab_size,
        "norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        **_width_keys(config.hidden_size, config.intermediate_size),
    }
    if config.head_dim * config.num_heads != config.hidden_size:
        params["head_dim"] = config.head_dim
    if config.windows:
        params["sliding_window"] = config.windows[0]
    if config.rope_scaling is not None:
        params["use_scaled_rope"] = True
    guessed = from_meta(params)
    if guessed.rope_scaling != config.rope_scaling and config.rope_scaling is not None:
        params["rope_scaling_factor"] = config.rope_scaling.factor
    if guessed.max_position != config.max_position:
        params["max_seq_len"] = config.max_position
    if guessed.bos_id != config.bos_id and config.bos_id is not None:
        params["bos_id"] = config.bos_id
    if guessed.eos_ids != config.eos_ids:
        params["eos_ids"] = list(config.eos_ids)
    return params


def _width_keys(dim: int, width: int) -> dict[str, Any]:
    """multiple_of, and ffn_dim_multiplier if needed, that make Meta's formula give `width`."""
    base = int(2 * (4 * dim) / 3)
    for multiple in (256, 32):
        if multiple * ((base + multiple - 1) // multiple) == width:
            return {"multiple_of": multiple}
    if width >= base:
        return {"multiple_of": width}  # rounding up to a multiple of itself
    return {"multiple_of": 1, "ffn_dim_multiplier": (width + 0.5) / base}


def _refuse_what_meta_cannot_say(config: ModelConfig) -> None:
    why = None
    scaling = config.rope_scaling
    if config.architecture not in ("llama", "mistral"):
        why = f"the architecture {config.architecture}"
    elif config.qkv_bias or config.out_bias or config.mlp_bias:
        why = "biases"
    elif config.qk_norm:
        why = "norms of queries and keys"
    elif len(set(config.windows)) > 1:
        why = "windows that differ between layers"
    elif scaling is not None and (
        (scaling.kind, scaling.low_freq_factor, scaling.high_freq_factor) != ("llama3", 1.0, 4.0)
        or scaling.original_max_position != 8192
    ):
        why = f"this rope scaling: {scaling}"
    if why is not None:
        raise ConfigError(f"Meta's layout cannot express {why}; keep the Hugging Face folder")
