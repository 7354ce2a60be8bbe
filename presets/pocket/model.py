"""Pocket's network: Llama 2 in plain torch, with Meta's tensor names.

Only for training and scoring Pocket. Berth serves the weights with its own engine; this module
is deliberately independent of it, so that the two can be compared.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WEIGHTS = Path(__file__).with_name("weights")


@dataclass(frozen=True)
class Params:
    """The contents of params.json, in Meta's keys."""

    dim: int = 256
    n_layers: int = 6
    n_heads: int = 4
    n_kv_heads: int = 2
    vocab_size: int = 2048
    multiple_of: int = 32
    ffn_dim_multiplier: float = 0.92
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    max_seq_len: int = 2048

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.dim // self.n_heads

    @property
    def hidden_dim(self) -> int:
        """Width of the feed-forward layer, by Meta's formula."""
        hidden = int(self.ffn_dim_multiplier * int(2 * 4 * self.dim / 3))
        return self.multiple_of * ((hidden + self.multiple_of - 1) // self.multiple_of)

    def save(self, folder: Path) -> None:
        """Write params.json."""
        (folder / "params.json").write_text(json.dumps(asdict(self), indent=2) + "\n")


def load_params(folder: Path = WEIGHTS) -> Params:
    """Read params.json."""
    return Params(**json.loads((folder / "params.json").read_text(encoding="utf-8")))


class Attention(nn.Module):
    """Grouped-query attention with rotary positions in Meta's interleaved layout."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.heads, self.kv_heads = params.n_heads, params.n_kv_heads
        self.head_dim = params.head_dim
        kv_width = self.kv_heads * self.head_dim
        self.wq = nn.Linear(params.dim, params.dim, bias=False)
        self.wk = nn.Linear(params.dim, kv_width, bias=False)
        self.wv = nn.Linear(params.dim, kv_width, bias=False)
        self.wo = nn.Linear(params.dim, params.dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """x: (batch, time, dim); mask: (time, time), 0 or -inf. Returns (batch, time, dim)."""
        batch, time, dim = x.shape
        group = self.heads // self.kv_heads
        q = _rotate(self.wq(x).view(batch, time, self.heads, self.head_dim), cos, sin)
        k = _rotate(self.wk(x).view(batch, time, self.kv_heads, self.head_dim), cos, sin)
        v = self.wv(x).view(batch, time, self.kv_heads, self.head_dim)
        # Plain matrix products beat scaled_dot_product_attention on CPU at these short lengths:
        # they run on AMX in bf16, and SDPA's backward does not. The query heads of one group
        # stand below each other, so that the shared keys need not be copied.
        q = q.transpose(1, 2).reshape(batch * self.kv_heads, group * time, self.head_dim)
        k = k.transpose(1, 2).reshape(batch * self.kv_heads, time, self.head_dim)
        v = v.transpose(1, 2).reshape(batch * self.kv_heads, time, self.head_dim)
        scores = (q @ k.transpose(1, 2)).view(-1, group, time, time) * self.head_dim**-0.5 + mask
        weights = scores.softmax(-1).to(x.dtype).view(-1, group * time, time)
        mixed = (weights @ v).view(batch, self.heads, time, self.head_dim)
        out: Tensor = self.wo(mixed.transpose(1, 2).reshape(batch, time, dim))
        return out


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    pairs = x.view(*x.shape[:-1], -1, 2)
    real, imaginary = pairs[..., 0], pairs[..., 1]
    return torch.stack(
        (real * cos - imaginary * sin, real * sin + imaginary * cos), dim=-1
    ).flatten(-2)


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.w1 = nn.Linear(params.dim, params.hidden_dim, bias=False)
        self.w2 = nn.Linear(params.hidden_dim, params.dim, bias=False)
        self.w3 = nn.Linear(params.dim, params.hidden_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, time, dim) -> same."""
        out: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return out


class Block(nn.Module):
    """One transformer layer."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.attention = Attention(params)
        self.feed_forward = FeedForward(params)
        self.attention_norm = nn.RMSNorm(params.dim, eps=params.norm_eps)
        self.ffn_norm = nn.RMSNorm(params.dim, eps=params.norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """x: (batch, time, dim) -> same."""
        x = x + self.attention(self.attention_norm(x), cos, sin, mask)
        out: Tensor = x + self.feed_forward(self.ffn_norm(x))
        return out


class Pocket(nn.Module):
    """The whole model."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.params = params
        self.tok_embeddings = nn.Embedding(params.vocab_size, params.dim)
        self.layers = nn.ModuleList(Block(params) for _ in range(params.n_layers))
        self.norm = nn.RMSNorm(params.dim, eps=params.norm_eps)
        self.output = nn.Linear(params.dim, params.vocab_size, bias=False)

    def initialise(self, generator: torch.Generator) -> None:
        """Small normal weights; the residual outputs smaller with depth, as in GPT-2."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1:
                nn.init.ones_(parameter)
                continue
            deep = name.endswith(("wo.weight", "w2.weight"))
            std = 0.02 / (2 * self.params.n_layers) ** 0.5 if deep else 0.02
            nn.init.normal_(parameter, std=std, generator=generator)

    def hidden(self, tokens: Tensor) -> Tensor:
        """tokens: (batch, time) -> normalised states (batch, time, dim)."""
        time, device = tokens.shape[1], tokens.device
        x: Tensor = self.tok_embeddings(tokens)
        steps = torch.arange(0, self.params.head_dim, 2, device=device) / self.params.head_dim
        angles = torch.outer(
            torch.arange(time, device=device).float(), self.params.rope_theta**-steps
        )
        cos, sin = angles.cos()[:, None].to(x.dtype), angles.sin()[:, None].to(x.dtype)
        mask = torch.full((time, time), float("-inf"), device=device).triu(1).to(x.dtype)
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        out: Tensor = self.norm(x)
        return out

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (batch, time) -> logits (batch, time, vocab)."""
        out: Tensor = self.output(self.hidden(tokens))
        return out


def load(folder: Path = WEIGHTS, dtype: torch.dtype = torch.float32) -> Pocket:
    """The trained model of a weights folder."""
    model = Pocket(load_params(folder))
    state = torch.load(folder / "consolidated.00.pth", weights_only=True, mmap=True)
    model.load_state_dict(state)
    return model.to(dtype).eval()
