"""The kernel that chooses a step's tokens: what it shifts, what it draws, when it finds none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from berth.kernels.choose import SPREAD, Shift
from berth.kernels.library import library
from berth.kernels.native_ops import NativeOps


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def native(dtype: torch.dtype) -> NativeOps:
    lib = library()
    if lib is None:
        pytest.skip("no C compiler on this machine: torch operations are used")
    return NativeOps(lib, dtype)


class Row:
    """A shift by its lists, and what it makes of a row when each logit is shifted."""

    def __init__(
        self,
        penalised: dict[int, float] | None = None,
        repetition: float = 1.0,
        bias: dict[int, float] | None = None,
        banned: tuple[int, ...] = (),
    ) -> None:
        self.penalised, self.repetition = penalised or {}, repetition
        self.bias, self.banned = bias or {}, banned
        bits = max(1, (2 * len(self.penalised) - 1).bit_length())
        places = np.zeros(1 << bits, dtype=np.int32)
        for entry, token in enumerate(self.penalised, 1):
            at = (token * SPREAD & 0xFFFFFFFF) >> (32 - bits)
            while places[at]:
                at = (at + 1) % len(places)
            places[at] = entry
        self._held = [
            places,
            np.array(list(self.penalised), dtype=np.int64),
            np.array(list(self.penalised.values()), dtype=np.float32),
            np.array(list(self.bias), dtype=np.int64),
            np.array(list(self.bias.values()), dtype=np.float32),
            np.array(banned, dtype=np.int64),
        ]
        self.shift = Shift(
            *(array.ctypes.data for array in self._held),
            len(self.penalised),
            bits,
            len(self.bias),
            len(banned),
            repetition,
            repetition < 1 or any(amount < 0 for amount in self.penalised.values()),
        )

    def choose(self, logits: torch.Tensor) -> int:
        scores = logits.float().clone()
        inside = [token for token in self.penalised if token < len(scores)]
        values = scores[inside]
        factor = torch.tensor(self.repetition, dtype=torch.float32)
        values = torch.where(values > 0, values / factor, values * factor)
        scores[inside] = values - torch.tensor([self.penalised[token] for token in inside])
        for token, amount in self.bias.items():
            if token < len(scores):
                scores[token] += amount
        for token in self.banned:
            if token < len(scores):
                scores[token] = -torch.inf
        return int(scores.argmax()) if float(scores.amax()) > -torch.inf else -2


def drawn(chance: np.random.Generator, width: int) -> Row:
    """Ids beyond the width are among them: a tokenizer can name more than the model has."""
    seen = chance.permutation(width + 3)[: chance.integers(0, width)]
    amounts = chance.choice([0.0, 0.7, 1.3, -0.4], len(seen)).astype(np.float32)
    if chance.random() < 0.6:
        amounts = np.abs(amounts)
    few = chance.permutation(width + 3)[:5]
    return Row(
        {int(token): float(amount) for token, amount in zip(seen, amounts, strict=True)},
        float(np.float32(chance.choice([1.0, 1.1, 1.7, 0.6]))),
        {int(token): float(chance.integers(-4, 5)) for token in few[: chance.integers(0, 4)]},
        tuple(int(token) for token in few[2 : 2 + chance.integers(0, 3)]),
    )


@pytest.mark.parametrize("width", [1, 7, 16, 65, 512, 513, 1100, 5003])
def test_it_finds_what_shifting_every_logit_finds(
    native: NativeOps, dtype: torch.dtype, width: int
) -> None:
    """Steps of a quarter make many equals, of which the first counts."""
    chance = np.random.default_rng(width)
    for steps in (4, 1000):
        rows = [drawn(chance, width) for _ in range(40)]
        logits = torch.from_numpy(chance.normal(size=(len(rows), width)) * 3)
        logits = ((logits * steps).round() / steps).to(dtype)
        got = native.choose(logits, [row.shift for row in rows])
        assert got == [row.choose(logits[i]) for i, row in enumerate(rows)]


def test_logits_that_are_not_numbers_and_rows_without_a_token_left_are_told(
    native: NativeOps, dtype: torch.dtype
) -> None:
    cases: list[tuple[Any, Row, int]] = [
        (torch.nan, Row(), -1),
        (torch.inf, Row(bias={3: 1.0}), -1),
        (5.0, Row(banned=(9,)), 0),
        (5.0, Row({9: 0.5}), 0),
        (-torch.inf, Row(), 9),
        (5.0, Row(banned=tuple(range(40))), -2),
    ]
    logits = torch.zeros(len(cases), 40).to(dtype)
    for row, (value, _, _) in enumerate(cases):
        logits[row, 9] = value
    logits[3] = 4.75
    logits[3, 9] = 5.0
    logits[4] = -torch.inf
    logits[4, 9] = -1e30
    got = native.choose(logits, [row.shift for _, row, _ in cases])
    assert got == [want for _, _, want in cases]
    nothing = torch.full((1, 40), -torch.inf).to(dtype)
    assert native.choose(nothing, [Row(bias={3: 2.0}).shift]) == [-1]


def interval(row: torch.Tensor, token: int, **by: float) -> tuple[float, float]:
    """Where a token lies in what the filters leave of a row, in the order it is drawn in."""
    weights = torch.softmax((row.double() - row.double().amax()) / by["temperature"], -1)
    order = torch.arange(len(row))
    if by["top_k"] or by["top_p"] < 1:
        weights, order = weights.sort(descending=True, stable=True)
    rank = torch.arange(len(row))
    kept = torch.where(rank < (by["top_k"] or len(row)), weights, 0.0)
    before = kept.cumsum(0) - kept
    if by["top_p"] < 1:
        kept = torch.where(before < by["top_p"] * kept.sum(), kept, 0.0)
    kept = torch.where(weights >= by["min_p"] * weights.max(), kept, 0.0)
    ends = kept.cumsum(0) / kept.sum()
    at = int((order == token).nonzero())
    # One that the filters leave, or the one after the last: where top-p cuts is a sum of floats.
    assert kept[at] > 0 or (by["top_p"] < 1 and kept[at - 1] > 0 and ends[at - 1] > 1 - 2e-6)
    return float(ends[at] - kept[at] / kept.sum()), float(ends[at])


@pytest.mark.parametrize("scale", [0.0, 0.3, 4.0], ids=["even", "flat", "peaked"])
@pytest.mark.parametrize(
    "by",
    [
        {},
        {"temperature": 0.4},
        {"min_p": 0.05},
        {"top_k": 1},
        {"top_k": 40},
        {"top_k": 5000},
        {"top_p": 0.9},
        {"top_p": 1e-6},
        {"top_p": 0.9999},
        {"top_k": 700, "top_p": 0.5, "min_p": 0.001, "temperature": 1.3},
    ],
    ids=str,
)
def test_a_drawn_token_is_the_one_whose_share_holds_the_random_number(
    native: NativeOps, dtype: torch.dtype, by: dict[str, float], scale: float
) -> None:
    """A share's ends are known to a millionth: weights are floats."""
    by = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0} | by
    logits = torch.randn(1, 3001, generator=torch.Generator().manual_seed(3)) * scale
    rows = logits.to(dtype).expand(60, -1).contiguous()
    draws = [0.0, 1 - 2**-53, *torch.rand(58, generator=torch.Generator().manual_seed(4)).tolist()]
    shifts = [Shift(repetition=1.0, draw=draw, **by) for draw in draws]
    for draw, token in zip(draws, native.choose(rows, shifts), strict=True):
        begin, end = interval(rows[0], token, **by)
        assert begin - 2e-6 <= draw <= end + 2e-6


def test_a_drawn_row_is_shifted_as_one_whose_largest_is_taken(
    native: NativeOps, dtype: torch.dtype
) -> None:
    """At a temperature that leaves the largest alone, drawing finds what shifting finds."""
    chance = np.random.default_rng(1)
    rows = [drawn(chance, 700) for _ in range(40)]
    logits = torch.from_numpy(chance.normal(size=(40, 700)) * 3).to(dtype)
    for row in rows:
        row.shift.temperature, row.shift.top_p, row.shift.draw = 1e-7, 1.0, 0.0
    got = native.choose(logits, [row.shift for row in rows])
    assert got == [row.choose(logits[i]) for i, row in enumerate(rows)]
