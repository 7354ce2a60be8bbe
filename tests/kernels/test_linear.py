"""The product of few rows: right, on oneDNN's own packed weight, and the same in any company."""

from __future__ import annotations

import pytest
import torch

from berth.kernels.linear import MOST_ROWS, FewRows, available

needs_amx = pytest.mark.skipif(not available(), reason="this CPU has no AMX, or no compiler ran")


def packed(n: int, k: int, dtype: torch.dtype = torch.bfloat16) -> tuple[torch.Tensor, FewRows]:
    generator = torch.Generator().manual_seed(n * k)
    weight = (torch.randn(n, k, generator=generator) * 0.05).to(dtype)
    product = FewRows.of(weight, torch.ops.mkldnn._reorder_linear_weight(weight))
    assert product is not None
    return weight, product


@needs_amx
@pytest.mark.parametrize("rows", [1, 2, 15, 16, 17, 31, 32, 33, 64, MOST_ROWS])
@pytest.mark.parametrize(("n", "k"), [(64, 64), (100, 96), (17, 32), (2560, 512), (33, 1408)])
def test_it_is_the_product_in_float_rounded_once(n: int, k: int, rows: int) -> None:
    weight, product = packed(n, k)
    x = torch.randn(rows, k, generator=torch.Generator().manual_seed(rows)).bfloat16()
    bias = torch.randn(n, generator=torch.Generator().manual_seed(1)).bfloat16()
    for given in (None, bias):
        exact = x.double() @ weight.double().T + (0 if given is None else given.double())
        got = product(x, given)
        assert got.shape == (rows, n)
        # Half a unit in the last of bfloat16's 8 bits, and what float's sum of k terms adds.
        torch.testing.assert_close(got.double(), exact, rtol=2.0**-8, atol=1e-4)


@needs_amx
def test_a_row_has_the_same_bits_whatever_is_beside_it() -> None:
    _, product = packed(320, 512)
    x = torch.randn(MOST_ROWS, 512, generator=torch.Generator().manual_seed(3)).bfloat16()
    alone = torch.cat([product(x[i : i + 1], None) for i in range(MOST_ROWS)])
    for rows in (2, 16, 17, 32, 50, MOST_ROWS):
        assert torch.equal(product(x[:rows].contiguous(), None), alone[:rows])


@needs_amx
def test_a_row_that_holds_nan_spoils_no_other() -> None:
    _, product = packed(64, 64)
    x = torch.randn(20, 64, generator=torch.Generator().manual_seed(3)).bfloat16()
    clean = product(x, None)
    x[7] = float("nan")
    dirty = product(x, None)
    assert dirty[7].isnan().all()
    others = [i for i in range(20) if i != 7]
    assert torch.equal(dirty[others], clean[others])


@needs_amx
def test_another_layout_is_not_taken_for_the_known_one() -> None:
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    other = torch.ops.mkldnn._reorder_linear_weight(weight.flip(0).contiguous())
    assert FewRows.of(weight, other) is None


@needs_amx
def test_what_it_cannot_compute_is_left_to_onednn() -> None:
    odd = torch.ones(64, 40, dtype=torch.bfloat16)
    assert FewRows.of(odd, torch.ops.mkldnn._reorder_linear_weight(odd)) is None
    single = torch.ones(64, 64)
    assert FewRows.of(single, torch.ops.mkldnn._reorder_linear_weight(single)) is None
