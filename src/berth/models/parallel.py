"""Tensor parallelism: everything that Berth takes from fairscale, behind one module.

The layers are fairscale's column- and row-parallel linears and its vocabulary-parallel embedding,
partitioned, gathered and reduced by its own functions. Two things differ. fairscale's constructors
build the whole matrix on every rank to cut a shard from it, so ours leave the weight to `fill`. And
the product on this rank is a `Linear`'s, which knows the weight's format and nothing of other
ranks.
"""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.nn.functional as F
from fairscale.nn.model_parallel import initialize as fairscale_groups
from fairscale.nn.model_parallel.layers import (
    ColumnParallelLinear,
    RowParallelLinear,
    VocabParallelEmbedding,
)
from fairscale.nn.model_parallel.mappings import (
    gather_from_model_parallel_region,
    reduce_from_model_parallel_region,
)
from torch import nn

from berth.kernels.linear import Linear


@dataclass(frozen=True, slots=True)
class Group:
    """This process among the ranks that share one model."""

    rank: int
    degree: int
    device: torch.device


@dataclass(frozen=True, slots=True)
class HeadShare:
    """This rank's attention heads: its query heads and the kv heads that those look at."""

    first: int
    heads: int
    first_kv: int
    kv_heads: int


def share_heads(heads: int, kv_heads: int, group: Group) -> HeadShare:
    """Divide heads among the ranks; if there are more ranks than kv heads, neighbours keep
    copies of the same one. Raises ValueError if neither can be.
    """
    mine = divide(heads, group.degree)
    if kv_heads < group.degree and group.degree % kv_heads == 0:
        return HeadShare(group.rank * mine, mine, group.rank * kv_heads // group.degree, 1)
    mine_kv = divide(kv_heads, group.degree)
    return HeadShare(group.rank * mine, mine, group.rank * mine_kv, mine_kv)


def join_group(device: torch.device) -> Group:
    """Meet the other ranks, those that torchrun started. A rank alone joins nothing: gloo would
    start a dozen threads for it.

    Plans always travel over gloo (they live on the host); on GPUs the layers' collectives run on
    NCCL. The timeout is a backstop: supervisors end a group that hangs long before.
    """
    degree = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    if degree > 1:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        # For slow loading; an idle rank hears from rank 0 each second.
        dist.init_process_group(backend, timeout=timedelta(minutes=10))
        with contextlib.redirect_stdout(io.StringIO()):  # fairscale prints the sizes
            fairscale_groups.initialize_model_parallel(degree)
    return Group(rank, degree, device)


def _degree() -> int:
    """Ranks that share the layers that are built now."""
    if not fairscale_groups.model_parallel_is_initialized():
        return 1
    degree: int = fairscale_groups.get_model_parallel_world_size()
    return degree


class ColumnLinear(ColumnParallelLinear):  # type: ignore[misc]
    """Each rank holds out_features / degree rows; the output stays split unless gathered."""

    def __init__(self, in_features: int, out_features: int, *, gather_output: bool = False) -> None:
        nn.Module.__init__(self)  # not fairscale's: see the module's docstring
        degree = _degree()
        self.in_features = in_features
        self.out_features = out_features
        self.gather_output = gather_output and degree > 1
        self.output_size_per_partition = divide(out_features, degree)
        self._linear: Linear | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """This rank's weight: [out_features / degree, in_features]."""
        return self.output_size_per_partition, self.in_features

    def fill(self, linear: Linear) -> None:
        """Take this rank's rows, and their bias if there is one."""
        self._linear = linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self._linear is not None, "fill() comes first"
        y = self._linear.forward(x)
        if self.gather_output:
            y = gather_from_model_parallel_region(y)
        return y


class RowLinear(RowParallelLinear):  # type: ignore[misc]
    """Each rank holds in_features / degree columns and a part of the sum; forward adds them up."""

    def __init__(self, in_features: int, out_features: int) -> None:
        nn.Module.__init__(self)
        degree = _degree()
        self.in_features = in_features
        self.out_features = out_features
        self.input_is_parallel = True
        self.input_size_per_partition = divide(in_features, degree)
        self._divided = degree > 1  # if it is not, fairscale's autograd function only costs
        self._linear: Linear | None = None
        self._bias: torch.Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """This rank's weight: [out_features, in_features / degree]."""
        return self.out_features, self.input_size_per_partition

    def fill(self, linear: Linear, bias: torch.Tensor | None = None) -> None:
        """Take this rank's columns, and the whole bias, which is added once, after the sum."""
        self._linear = linear
        self._bias = bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._complete(self._partial(x))

    def plus(self, x: torch.Tensor, other: RowLinear, other_x: torch.Tensor) -> torch.Tensor:
        """self(x) + other(other_x), with one exchange between the ranks instead of two."""
        y = self._complete(self._partial(x).add_(other._partial(other_x)))
        return y if other._bias is None else y + other._bias

    def _partial(self, x: torch.Tensor) -> torch.Tensor:
        """This rank's part of the sum."""
        assert self._linear is not None, "fill() comes first"
        return self._linear.forward(x)

    def _complete(self, y: torch.Tensor) -> torch.Tensor:
        """All ranks' parts and the bias."""
        if self._divided:
            y = reduce_from_model_parallel_region(y)
        return y if self._bias is None else y + self._bias


class TokenEmbedding(VocabParallelEmbedding):  # type: ignore[misc]
    """Each rank holds vocab / degree rows; the lookup is fairscale's."""

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        nn.Module.__init__(self)
        degree = _degree()
        share = divide(num_embeddings, degree)
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = None
        self.max_norm = None
        self.norm_type = 2.0
        self.scale_grad_by_freq = False
        self.sparse = False
        self.num_embeddings_per_partition = share
        rank = fairscale_groups.get_model_parallel_rank() if degree > 1 else 0
        self.vocab_start_index = rank * share
        self.vocab_end_index = self.vocab_start_index + share
        self.weight: torch.Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """This rank's rows: [vocab / degree, hidden]."""
        return self.num_embeddings_per_partition, self.embedding_dim

    def fill(self, weight: torch.Tensor) -> None:
        """Take this rank's rows, as they are."""
        self.weight = weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.num_embeddings_per_partition == self.num_embeddings:
            assert self.weight is not None, "fill() comes first"
            return F.embedding(tokens, self.weight)
        y: torch.Tensor = VocabParallelEmbedding.forward(self, tokens)
        return y


def divide(size: int, degree: int) -> int:
    """size / degree. Raises ValueError if that is not a whole number."""
    if size % degree:
        raise ValueError(f"{size} is not divisible by the tensor-parallel degree {degree}")
    return size // degree
