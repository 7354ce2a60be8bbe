"""The models that the benchmark makes, and what running them costs at least."""

from __future__ import annotations

from dataclasses import dataclass

_BF16 = 2  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A random-weight Llama in bf16, and the load that it is measured under."""

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int = 32_000
    max_position: int = 4096
    levels: tuple[int, ...] = (1, 8, 32)  # concurrent requests
    input_tokens: int = 128
    output_tokens: int = 128
    solo_requests: int = 1  # one after the other at concurrency 1, for a figure that stands still
    prefill_tokens: int = 1024

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    @property
    def layer_parameters(self) -> int:
        """Of the matrices of one layer."""
        kv = self.kv_heads * self.head_dim
        attention = 2 * self.hidden * self.hidden + 2 * self.hidden * kv
        return attention + 3 * self.hidden * self.intermediate

    @property
    def decode_bytes(self) -> int:
        """Weights that one decode step reads: all but the embedding table, of which it needs rows.

        The KV cache comes on top; at concurrency 1 and 256 tokens it is under 1 %.
        """
        head = self.vocabulary * self.hidden
        norms = (2 * self.layers + 1) * self.hidden
        return _BF16 * (self.layers * self.layer_parameters + head + norms)

    def prefill_flops(self, tokens: int) -> float:
        """Multiplications and additions of one prompt: layers and causal attention.

        The vocabulary's matrix is needed for the last position only, and left out.
        """
        attention = 2 * self.layers * self.hidden * tokens * tokens  # half of 4·L·h·n²
        return 2.0 * self.layers * self.layer_parameters * tokens + attention

    def requests(self, level: int) -> int:
        """Requests of one run: a full wave, or `solo_requests` one by one."""
        return self.solo_requests if level == 1 else level

    @property
    def kv_cache_bytes(self) -> int:
        """A cache with room for one and a half times what the benchmark runs at once."""
        per_token = 2 * self.layers * self.kv_heads * self.head_dim * _BF16
        running = max(self.levels) * (self.input_tokens + self.output_tokens)
        return per_token * (running * 3 // 2 + self.prefill_tokens + 1024)


SHAPES = {
    shape.name: shape
    for shape in (
        Shape(name="tiny", hidden=64, layers=2, heads=4, kv_heads=2, intermediate=128,
              vocabulary=512, max_position=512, levels=(1, 4), input_tokens=16, output_tokens=16,
              solo_requests=2, prefill_tokens=128),
        Shape(name="S", hidden=768, layers=12, heads=12, kv_heads=12, intermediate=2048,
              solo_requests=4),
        Shape(name="M", hidden=2048, layers=22, heads=32, kv_heads=4, intermediate=5632),
    )
}  # fmt: skip
