"""The numbers that make one architecture a model, whichever file they were read from. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from berth.checkpoint.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeScaling:
    """How rotary frequencies are stretched: "linear", "llama3" (Llama 3.1's scheme), "yarn"
    (Peng et al. 2023) or "longrope" (Ding et al. 2024)."""

    kind: str
    factor: float
    low_freq_factor: float = 1.0  # llama3's
    high_freq_factor: float = 4.0
    original_max_position: int = 8192
    attention_factor: float = 1.0  # of cosine and sine: yarn's and longrope's
    beta_fast: float = 32.0  # yarn's
    beta_slow: float = 1.0
    truncate: bool = True
    # longrope's: what each pair's frequency is divided by, up to the original length and beyond it.
    short_factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One decoder-only transformer of an architecture that models/registry.py knows."""

    architecture: str  # "llama", "mistral", "qwen2", "qwen3", "falcon"
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_position: int  # tokens of context that the model was trained for
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    rotary_dim: int | None = None  # the first so many of a head's dimensions are rotated; None: all
    rope_local_theta: float | None = None  # of layers with a window, if it is another one
    # Meta rotates neighbouring pairs (0,1),(2,3)…; Hugging Face rotates halves (0,d/2),(1,d/2+1)…
    # and permutes wq and wk to match. We keep either file's weights as they are.
    rope_interleaved: bool = False
    # Positions as a bias on the scores that grows with the token (Press et al. 2022), no rotation.
    alibi: bool = False
    # Attention and MLP side by side, both reading the layer's input; else one after the other.
    parallel_attention: bool = False
    norms_per_layer: int = 2  # 1 if attention and MLP, side by side, share one
    # Tokens that a layer's attention looks back, itself included; None: all. One entry a layer.
    windows: tuple[int | None, ...] = ()
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    gated_mlp: bool = True  # down(act(gate(x)) * up(x)), else down(act(up(x)))
    norm_bias: bool = False  # LayerNorm, else RMSNorm
    tie_embeddings: bool = False
    embedding_scale: float = 1.0  # what embeddings are multiplied by, in the model's dtype
    query_scale: float = 1.0  # what scores are multiplied by beside 1 / sqrt(head_dim)
    attention_softcap: float | None = None  # scores become cap * tanh(score / cap)
    logit_softcap: float | None = None
    bos_id: int | None = None
    eos_ids: tuple[int, ...] = ()
    dtype: str = "bfloat16"  # as stored, of what is not packed
    weight_format: str = "plain"  # of linear layers: a name of weight_format.FORMATS
    head_packed: bool = False  # whether the output head is one of those

    def window(self, layer: int) -> int | None:
        """How far back `layer` looks, in tokens; None if it sees everything."""
        return self.windows[layer] if self.windows else None

    def require_degree(self, degree: int) -> None:
        """Raises ConfigError if this many ranks cannot share the model."""
        if degree not in self.degrees():
            raise ConfigError(
                f"tensor-parallel degree {degree} does not divide {self.num_heads} heads, "
                f"vocabulary {self.vocab_size} and MLP {self.intermediate_size}, or neither "
                f"divides nor is a multiple of {self.num_kv_heads} kv heads; degrees that do: "
                + ", ".join(map(str, self.degrees()))
            )

    def degrees(self) -> list[int]:
        """The tensor-parallel degrees that can be run.

        They divide heads, vocabulary and MLP. They divide the kv heads too, or are a multiple of
        them: several ranks then keep a copy of the same kv head.
        """
        sizes = (self.num_heads, self.vocab_size, self.intermediate_size)
        return [
            degree
            for degree in range(1, self.num_heads + 1)
            if all(size % degree == 0 for size in sizes)
            and (self.num_kv_heads % degree == 0 or degree % self.num_kv_heads == 0)
        ]
