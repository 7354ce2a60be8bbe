"""Tensor parallelism: everything that Berth takes from fairscale, behind one module.

The layers are fairscale's column- and row-parallel linears and its vocabulary-parallel embedding,
partitioned, gathered and reduced by its own functions. Two things differ, and both are about
memory: fairscale's constructors build the whole matrix on every rank to cut a shard from it, so
ours leave the weight to `fill`; and on CPU the product is oneDNN's, on a weight that is packed once
into its own layout (0.8 of the memory's bandwidth where a plain product reaches 0.6), or ours, on
the same packed weight, where there are few rows and AMX (0.95).
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

from berth.kernels.linear import MOST_ROWS, FewRows


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
    """Divide heads among the ranks; where there are more ranks than kv heads, neighbours keep
    copies of the same one. Raises ValueError where neither can be.
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


def _has_onednn(dtype: torch.dtype) -> bool:
    return torch._C._has_mkldnn and dtype in (torch.float32, torch.bfloat16)


def padded_rows(rows: int) -> int:
    """The row count that a oneDNN product of `rows` rows is computed with: never less.

    oneDNN compiles and keeps a primitive of 0.2 to 0.5 MB for each weight's shape and each row
    count, and those of steps that prefill are all numbers up to --max-batch-tokens. Of these
    there are 29 up to 1,024: 2, every fourth up to 32 and four to a doubling beyond, so that at
    most a fifth of the rows is padding once there are 16. No row is computed alone: oneDNN sums a
    lone row in another order than several, and a request is to have the same bits alone and among
    others.
    """
    if rows <= 2:
        return 2
    step = max(4, 1 << max(0, (rows - 1).bit_length() - 3))
    return -(-rows // step) * step


class _Product:
    """x @ weight.T + bias with the weight in the layout that is fastest on its device."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, pack: bool) -> None:
        self.bias = bias
        # Packed or not, it gives a row the same bits whatever is beside it. F.linear does not.
        self.onednn = weight.device.type == "cpu" and _has_onednn(weight.dtype)
        self.weight = weight
        self.few_rows: FewRows | None = None
        if pack and self.onednn:
            weight = weight.contiguous()
            self.weight = torch.ops.mkldnn._reorder_linear_weight(weight)
            self.few_rows = FewRows.of(weight, self.weight)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.shape[0]
        if self.few_rows is not None and rows <= MOST_ROWS and x.is_contiguous():
            return self.few_rows(x, self.bias)
        if not self.onednn:
            return F.linear(x, self.weight, self.bias)
        size = padded_rows(rows)
        if size == rows:
            return self._multiply(x)
        padded = x.new_empty(size, x.shape[1])
        padded[:rows] = x
        padded[rows:] = 0
        return self._multiply(padded)[:rows]

    def _multiply(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise.default(
            x, self.weight, self.bias, "none", [], ""
        )
        return y


class ColumnLinear(ColumnParallelLinear):  # type: ignore[misc]
    """Each rank holds out_features / degree rows; the output stays split unless gathered."""

    def __init__(self, in_features: int, out_features: int, *, gather_output: bool = False) -> None:
        nn.Module.__init__(self)  # not fairscale's: see the module's docstring
        degree = _degree()
        self.in_features = in_features
        self.out_features = out_features
        self.gather_output = gather_output and degree > 1
        self.output_size_per_partition = divide(out_features, degree)
        self._product: _Product | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """This rank's weight: [out_features / degree, in_features]."""
        return self.output_size_per_partition, self.in_features

    def fill(
        self, weight: torch.Tensor, bias: torch.Tensor | None = None, *, pack: bool = True
    ) -> None:
        """Take this rank's rows. Not packed: `weight` itself is used, shared with its owner."""
        self._product = _Product(weight, bias, pack)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self._product is not None, "fill() comes first"
        y = self._product(x)
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
        self._divided = degree > 1  # where it is not, fairscale's autograd function only costs
        self._product: _Product | None = None
        self._bias: torch.Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """This rank's weight: [out_features, in_features / degree]."""
        return self.out_features, self.input_size_per_partition

    def fill(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        """Take this rank's columns, and the whole bias, which is added once, after the sum."""
        self._product = _Product(weight, None, pack=True)
        self._bias = bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._complete(self._partial(x))

    def plus(self, x: torch.Tensor, other: RowLinear, other_x: torch.Tensor) -> torch.Tensor:
        """self(x) + other(other_x), with one exchange between the ranks instead of two."""
        y = self._complete(self._partial(x).add_(other._partial(other_x)))
        return y if other._bias is None else y + other._bias

    def _partial(self, x: torch.Tensor) -> torch.Tensor:
        """This rank's part of the sum."""
        assert self._product is not None, "fill() comes first"
        return self._product(x)

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
    """size / degree. Raises ValueError where it is no whole number."""
    if size % degree:
        raise ValueError(f"{size} is not divisible by the tensor-parallel degree {degree}")
    return size // degree
