"""Which heads a rank has, which degrees there are, and what a product promises."""

from __future__ import annotations

import pytest
import torch

from berth.kernels.linear import padded_rows
from berth.models.formats import PlainWeight
from berth.models.linear import choose_linear
from berth.models.parallel import ColumnLinear, Group, HeadShare, share_heads
from engines.native.harness import alone
from models.checkpoints import tiny_config


def shares(heads: int, kv_heads: int, degree: int) -> list[HeadShare]:
    device = torch.device("cpu")
    return [share_heads(heads, kv_heads, Group(rank, degree, device)) for rank in range(degree)]


@pytest.mark.parametrize(
    ("heads", "kv_heads", "degree"),
    [(8, 8, 1), (8, 8, 4), (8, 4, 2), (8, 2, 4), (8, 2, 8), (71, 1, 71), (12, 3, 6), (6, 1, 2)],
)
def test_every_head_is_on_one_rank_beside_its_kv_head(
    heads: int, kv_heads: int, degree: int
) -> None:
    seen = []
    for share in shares(heads, kv_heads, degree):
        assert share.kv_heads == max(1, kv_heads // degree)
        assert share.heads % share.kv_heads == 0
        for local in range(share.heads):
            head = share.first + local
            seen.append(head)
            # What the kernels take, and what the model means.
            local_kv = local // (share.heads // share.kv_heads)
            assert share.first_kv + local_kv == head // (heads // kv_heads)
    assert seen == list(range(heads))


@pytest.mark.parametrize(("heads", "kv_heads", "degree"), [(8, 2, 3), (12, 3, 2), (12, 4, 6)])
def test_what_neither_divides_nor_is_a_multiple_is_refused(
    heads: int, kv_heads: int, degree: int
) -> None:
    with pytest.raises(ValueError, match="not divisible"):
        shares(heads, kv_heads, degree)


def test_degrees_beyond_the_kv_heads_are_those_that_copy_each_equally_often() -> None:
    sizes = {"vocab_size": 96, "intermediate_size": 96, "num_heads": 12}
    assert tiny_config(**sizes, num_kv_heads=12).degrees() == [1, 2, 3, 4, 6, 12]
    assert tiny_config(**sizes, num_kv_heads=4).degrees() == [1, 2, 4, 12]
    assert tiny_config(**sizes, num_kv_heads=3).degrees() == [1, 3, 6, 12]
    assert tiny_config(**sizes, num_kv_heads=1).degrees() == [1, 2, 3, 4, 6, 12]
    assert tiny_config(**sizes | {"vocab_size": 97}, num_kv_heads=4).degrees() == [1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("pack", [True, False], ids=["packed", "tied"])
@pytest.mark.parametrize("inner", [256, 4096])
def test_a_row_has_the_same_product_alone_and_among_others(
    dtype: torch.dtype, pack: bool, inner: int
) -> None:
    alone()
    torch.manual_seed(1)
    linear = ColumnLinear(inner, 1000)
    weight = (torch.randn(1000, inner) / inner**0.5).to(dtype)
    linear.fill(choose_linear(PlainWeight(weight), pack=pack))
    x = torch.randn(90, inner).to(dtype)
    together = linear(x)
    close = 1e-4 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(together.float(), x.float() @ weight.float().T, atol=close, rtol=0)
    for count in (1, 2, 3, 8, 15, 33, 64, 65):
        assert torch.equal(linear(x[:count].contiguous()), together[:count])


def test_products_of_a_thousand_row_counts_have_thirty_sizes() -> None:
    sizes = [padded_rows(rows) for rows in range(1, 1025)]
    assert len(set(sizes)) == 29
    assert sizes[0] == 2
    assert sizes[-1] == 1024
    for rows, size in enumerate(sizes, 1):
        assert rows <= size
        # A fifth of padding at most, where the rows are enough for arithmetic to count.
        assert rows < 16 or size - rows <= size / 5
