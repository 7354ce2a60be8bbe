"""The C kernels give what torch gives, on every shape that a model may have."""

from __future__ import annotations

import pytest
import torch

from berth.kernels import ops as ops_module
from berth.kernels.batch import BLOCK, LayerCache, Prefill, StepBatch
from berth.kernels.library import library
from berth.kernels.native_ops import NativeOps
from berth.kernels.ops import AttentionShape, HeadNorm, LayerNorm, TorchOps

DTYPES = [torch.float32, torch.bfloat16]
CPU = torch.device("cpu")


@pytest.fixture(params=DTYPES, ids=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    torch.manual_seed(7)
    return request.param


@pytest.fixture
def native(dtype: torch.dtype) -> NativeOps:
    lib = library()
    if lib is None:
        pytest.skip("no C compiler on this machine: torch operations are used")
    return NativeOps(lib, dtype)


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    tolerance = 2e-5 if a.dtype == torch.float32 else 2e-2
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


SHAPES = [
    pytest.param(AttentionShape(4, 2, 16, None, False), id="grouped"),
    pytest.param(AttentionShape(4, 4, 64, None, True), id="multi-head-interleaved"),
    pytest.param(AttentionShape(6, 1, 80, None, False), id="multi-query-80"),
    pytest.param(AttentionShape(2, 2, 10, None, True), id="odd-head-dim"),
    pytest.param(AttentionShape(4, 2, 32, 20, False), id="sliding-window"),
    pytest.param(AttentionShape(8, 4, 256, None, False, 2.0), id="capped"),
    pytest.param(AttentionShape(6, 1, 40, 20, False, 1.5), id="capped-sliding-window"),
]


def step(
    shape: AttentionShape, dtype: torch.dtype, entries: list[tuple[int, int]]
) -> tuple[torch.Tensor, StepBatch, LayerCache]:
    """Random rows for entries of (tokens already cached, new tokens); the cache is random too."""
    blocks_each = [-(-(old + new) // BLOCK) for old, new in entries]
    order = torch.randperm(sum(blocks_each) + 3).int()
    (cache,) = LayerCache.empty(1, len(order), shape.kv_heads, shape.head_dim, dtype, CPU)
    cache.k.normal_()
    cache.v.normal_()
    tables, positions, slots, taken = [], [], [], 0
    for (old, new), blocks in zip(entries, blocks_each, strict=True):
        table = order[taken : taken + blocks]
        taken += blocks
        tables.append(table)
        at = torch.arange(old, old + new)
        positions.append(at)
        slots.append(table[at // BLOCK].long() * BLOCK + at % BLOCK)
    decodes = [i for i, (_, new) in enumerate(entries) if new == 1]
    ends = torch.tensor([new for _, new in entries]).cumsum(0)
    widest = max((blocks_each[i] for i in decodes), default=0)
    decode_tables = torch.zeros(len(decodes), widest, dtype=torch.int32)
    for row, i in enumerate(decodes):
        decode_tables[row, : blocks_each[i]] = tables[i]
    batch = StepBatch(
        tokens=torch.zeros(int(ends[-1]), dtype=torch.int64),
        positions=torch.cat(positions),
        cache_slots=torch.cat(slots),
        decode_rows=ends[decodes] - 1,
        decode_lengths=torch.tensor([entries[i][0] + 1 for i in decodes], dtype=torch.int64),
        decode_tables=decode_tables,
        longest_decode=max((entries[i][0] + 1 for i in decodes), default=0),
        prefills=[
            Prefill(int(ends[i]) - new, new, old + new, tables[i])
            for i, (old, new) in enumerate(entries)
            if new > 1
        ],
    )
    return torch.randn(int(ends[-1]), shape.width).to(dtype), batch, cache


def tables_of_angles(shape: AttentionShape) -> tuple[torch.Tensor, torch.Tensor]:
    angles = torch.rand(512, shape.head_dim // 2) * 6.0
    return angles.cos(), angles.sin()


def slopes(shape: AttentionShape, tokens: int) -> torch.Tensor:
    """A bias by head and token as ALiBi's: numbers that bfloat16 has, whole blocks of tokens."""
    tokens = -(-tokens // BLOCK) * BLOCK
    steep = 0.5 ** torch.arange(1, shape.heads + 1).bfloat16()
    return (steep.unsqueeze(1) * torch.arange(tokens).bfloat16()).float()


def test_residual_add_and_norm_agree(native: NativeOps, dtype: torch.dtype) -> None:
    for rows, dim in [(1, 64), (3, 40), (17, 768), (40, 2048)]:
        x, weight = torch.randn(rows, dim).to(dtype), torch.randn(dim).to(dtype)
        first, first_sum = native.add_rmsnorm(x, None, weight, 1e-5)
        want, want_sum = TorchOps().add_rmsnorm(x, None, weight, 1e-5)
        close(first, want)
        torch.testing.assert_close(first_sum, want_sum)
        residual = torch.randn(rows, dim).to(dtype)
        kept = residual.clone()
        got, total = native.add_rmsnorm(x, residual, weight, 1e-5)
        want, want_total = TorchOps().add_rmsnorm(x, kept, weight, 1e-5)
        close(got, want)
        torch.testing.assert_close(total, want_total, atol=0, rtol=0)
        assert total.data_ptr() == residual.data_ptr()


def test_residual_add_and_layer_norm_agree(native: NativeOps, dtype: torch.dtype) -> None:
    for rows, dim in [(1, 64), (3, 40), (17, 768), (40, 2048)]:
        x = (torch.randn(rows, dim) + 3.0).to(dtype)
        norm = LayerNorm(torch.randn(dim).to(dtype), torch.randn(dim).to(dtype), 1e-5)
        first, first_sum = native.add_layernorm(x, None, norm)
        close(first, TorchOps().layernorm(x, norm))
        torch.testing.assert_close(first_sum, x, atol=0, rtol=0)
        close(native.layernorm(x, norm), first)
        residual = torch.randn(rows, dim).to(dtype)
        kept = residual.clone()
        got, total = native.add_layernorm(x, residual, norm)
        want, want_total = TorchOps().add_layernorm(x, kept, norm)
        close(got, want)
        torch.testing.assert_close(total, want_total, atol=0, rtol=0)
        assert total.data_ptr() == residual.data_ptr()


def test_gelu_agrees(native: NativeOps, dtype: torch.dtype) -> None:
    for rows, dim in [(1, 96), (5, 33), (32, 2048)]:
        x = (torch.randn(rows, dim) * 4).to(dtype)
        x[0, :4] = torch.tensor([200.0, -200.0, 0.0, 1e-8])
        want = torch.nn.functional.gelu(x.double()).to(dtype)
        close(TorchOps().gelu(x), want)
        close(native.gelu(x.clone()), want)
    broken = torch.full((1, 32), torch.nan).to(dtype)
    assert native.gelu(broken).isnan().all()


def test_a_row_is_normalised_and_bent_alike_whatever_runs_beside_it(
    native: NativeOps, dtype: torch.dtype
) -> None:
    x = torch.randn(40, 1000).to(dtype)
    norm = LayerNorm(torch.randn(1000).to(dtype), torch.randn(1000).to(dtype), 1e-5)
    normed, bent = native.layernorm(x, norm), native.gelu(x.clone())
    for row in (0, 13, 39):
        alone = x[row : row + 1].clone()
        assert torch.equal(native.layernorm(alone, norm)[0], normed[row])
        assert torch.equal(native.gelu(alone)[0], bent[row])


def test_silu_mul_agrees(native: NativeOps, dtype: torch.dtype) -> None:
    for rows, dim in [(1, 96), (5, 33), (32, 2048)]:
        x = (torch.randn(rows, 2 * dim) * 8).to(dtype)
        x[0, 0], x[0, 1] = 200.0, -200.0
        close(native.silu_mul(x), TorchOps().silu_mul(x))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("normed", [False, True], ids=["plain", "qk-norm"])
def test_rotation_and_cache_agree(
    native: NativeOps, dtype: torch.dtype, shape: AttentionShape, normed: bool
) -> None:
    qkv, batch, cache = step(shape, dtype, [(0, 5), (30, 1), (15, 2), (31, 20)])
    other = LayerCache(cache.k.clone(), cache.v.clone())
    norm = None
    if normed:
        weights = torch.randn(2, shape.head_dim).to(dtype)
        norm = HeadNorm(weights[0].clone(), weights[1].clone(), 1e-6)
    cosine, sine = tables_of_angles(shape)
    mine, theirs = qkv.clone(), qkv.clone()
    native.rope_append(mine, batch, cosine, sine, cache, shape, norm)
    TorchOps().rope_append(theirs, batch, cosine, sine, other, shape, norm)
    close(mine, theirs)
    close(cache.k, other.k)
    torch.testing.assert_close(cache.v, other.v, atol=0, rtol=0)


def test_without_angles_nothing_is_rotated(native: NativeOps, dtype: torch.dtype) -> None:
    shape = AttentionShape(4, 2, 16, None, False)
    qkv, batch, cache = step(shape, dtype, [(0, 5), (30, 1)])
    other = LayerCache(cache.k.clone(), cache.v.clone())
    before = qkv.clone()
    native.rope_append(qkv, batch, None, None, cache, shape, None)
    assert torch.equal(qkv, before)
    TorchOps().rope_append(qkv, batch, None, None, other, shape, None)
    assert torch.equal(qkv, before)
    assert torch.equal(cache.k, other.k)
    assert torch.equal(cache.v, other.v)
    block, offset = int(batch.cache_slots[-1]) // BLOCK, int(batch.cache_slots[-1]) % BLOCK
    assert torch.equal(cache.k[block, 1, :, offset], qkv[-1, 5 * 16 : 6 * 16])


@pytest.mark.parametrize("shape", SHAPES)
def test_attention_agrees(native: NativeOps, dtype: torch.dtype, shape: AttentionShape) -> None:
    qkv, batch, cache = step(shape, dtype, [(0, 1), (40, 1), (0, 23), (15, 1), (33, 9), (299, 1)])
    close(native.attend(qkv, batch, cache, shape), TorchOps().attend(qkv, batch, cache, shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_attention_with_a_bias_agrees(
    native: NativeOps, dtype: torch.dtype, shape: AttentionShape
) -> None:
    qkv, batch, cache = step(shape, dtype, [(0, 1), (40, 1), (0, 23), (15, 1), (33, 9), (299, 1)])
    alibi = slopes(shape, 300)
    want = TorchOps().attend(qkv, batch, cache, shape, alibi)
    close(native.attend(qkv, batch, cache, shape, alibi), want)
    assert (want - TorchOps().attend(qkv, batch, cache, shape)).abs().max() > 0.1


def test_the_bias_is_added_to_the_scores_before_they_are_scaled(
    native: NativeOps, dtype: torch.dtype
) -> None:
    """The definition, with a mask of queries by keys by heads."""
    shape = AttentionShape(4, 2, 16, None, False)
    qkv, batch, cache = step(shape, dtype, [(20, 1), (3, 12)])
    alibi = slopes(shape, 32)
    for ops in (native, TorchOps()):
        got = ops.attend(qkv, batch, cache, shape, alibi)
        for rows, old, table in [
            (slice(0, 1), 20, batch.decode_tables[0]),
            (slice(1, 13), 3, batch.prefills[0].table),
        ]:
            length = old + rows.stop - rows.start
            k, v = (t.repeat_interleave(2, 0) for t in ops.gather(cache, table, 0, length))
            q = qkv[rows, : 4 * 16].view(-1, 4, 16).transpose(0, 1)
            scores = q.float() @ k.float().transpose(1, 2) + alibi[:, None, :length]
            future = torch.arange(length) > torch.arange(old, length).unsqueeze(1)
            weights = (scores / 4.0).masked_fill(future, -torch.inf).softmax(-1)
            want = (weights @ v.float()).transpose(0, 1).flatten(1)
            tolerance = 2e-5 if dtype == torch.float32 else 3e-2
            torch.testing.assert_close(got[rows].float(), want, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize("size", [0.1, 1.0, 30.0], ids=["small", "usual", "far-above-the-cap"])
def test_a_capped_score_is_cap_times_its_tanh(
    native: NativeOps, dtype: torch.dtype, window: int | None, size: float
) -> None:
    """The definition, one query after the other, in float64."""
    shape = AttentionShape(4, 2, 32, window, False, 5.0)
    decodes, prompts = [(300, 1), (40, 1)], [(33, 9), (0, 30)]
    qkv, batch, cache = step(shape, dtype, [*decodes, *prompts])
    qkv.mul_(size)
    tables = [*batch.decode_tables, *(prefill.table for prefill in batch.prefills)]
    for ops in (native, TorchOps()):
        got = ops.attend(qkv, batch, cache, shape)
        row = 0
        for table, (old, new) in zip(tables, [*decodes, *prompts], strict=True):
            for length in range(old + 1, old + new + 1):
                first = 0 if window is None else max(0, length - window)
                k, v = ops.gather(cache, table, first, length)
                k, v = (t.repeat_interleave(2, 0).double() for t in (k, v))
                q = qkv[row, : 4 * 32].view(4, 1, 32).double()
                scores = 5.0 * (q @ k.transpose(1, 2) * 32**-0.5 / 5.0).tanh()
                want = (scores.softmax(-1) @ v).flatten()
                tolerance = 1e-5 if dtype == torch.float32 else 3e-2
                torch.testing.assert_close(got[row].double(), want, atol=tolerance, rtol=tolerance)
                row += 1


def test_a_nan_shows_though_scores_are_capped(native: NativeOps, dtype: torch.dtype) -> None:
    shape = AttentionShape(4, 2, 32, None, False, 5.0)
    qkv, batch, cache = step(shape, dtype, [(40, 1), (33, 9)])
    qkv[0, 0] = qkv[5, 0] = torch.nan  # of the first head
    for ops in (native, TorchOps()):
        bad = ops.attend(qkv, batch, cache, shape).isnan()
        assert bad[0, :32].all()
        assert bad[5, :32].all()
        assert int(bad.sum()) == 2 * 32


@pytest.mark.parametrize("cap", [None, 5.0])
def test_stale_memory_beyond_a_sequence_never_shows(
    native: NativeOps, dtype: torch.dtype, cap: float | None
) -> None:
    shape = AttentionShape(4, 2, 16, None, False, cap)
    qkv, batch, cache = step(shape, dtype, [(36, 1), (20, 1)])
    for ops in (native, TorchOps()):
        clean = ops.attend(qkv, batch, cache, shape)
        dirty = LayerCache(cache.k.clone(), cache.v.clone())
        for row, length in enumerate(batch.decode_lengths.tolist()):
            block, used = int(batch.decode_tables[row, length // BLOCK]), length % BLOCK
            dirty.k[block, :, :, used:] = torch.nan
            dirty.v[block, :, used:] = torch.nan
        torch.testing.assert_close(ops.attend(qkv, batch, dirty, shape), clean, atol=0, rtol=0)


@pytest.mark.parametrize("biased", [False, True], ids=["plain", "alibi"])
def test_a_row_attends_alike_whatever_runs_beside_it(
    native: NativeOps, dtype: torch.dtype, biased: bool
) -> None:
    shape = AttentionShape(4, 2, 32, None, False)
    entries = [(n, 1) for n in (100, 7, 250, 33)]
    qkv, batch, cache = step(shape, dtype, entries)
    alibi = slopes(shape, 256) if biased else None
    together = native.attend(qkv, batch, cache, shape, alibi)
    for row in range(len(entries)):
        alone = StepBatch(
            tokens=batch.tokens[:1],
            positions=batch.positions[row : row + 1],
            cache_slots=batch.cache_slots[row : row + 1],
            decode_rows=torch.tensor([0]),
            decode_lengths=batch.decode_lengths[row : row + 1],
            decode_tables=batch.decode_tables[row : row + 1],
            longest_decode=int(batch.decode_lengths[row]),
        )
        got = native.attend(qkv[row : row + 1].contiguous(), alone, cache, shape, alibi)
        assert torch.equal(got[0], together[row])


def test_argmax_takes_the_first_of_equals_and_reports_nan(
    native: NativeOps, dtype: torch.dtype
) -> None:
    for width in (7, 16, 1000):
        logits = torch.randn(6, width).to(dtype)
        logits[1] = 3.0
        logits[2, width - 1] = 50.0
        logits[3, width // 2] = torch.nan
        logits[4] = -torch.inf
        logits[4, 5] = -1e30
        for ops in (native, TorchOps()):
            found = ops.argmax(logits).tolist()
            assert found[1:5] == [0, width - 1, -1, 5]
            assert found[0] == int(logits[0].float().argmax())


@pytest.mark.parametrize(
    ("window", "cap"),
    [(None, None), (20, None), (130, None), (20, 3.0)],
    ids=["whole", "window-20", "window-130", "window-20-capped"],
)
@pytest.mark.parametrize("biased", [False, True], ids=["plain", "alibi"])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "dim"),
    [(4, 2, 32), (14, 2, 64), (3, 3, 128), (6, 1, 80), (2, 2, 10), (9, 1, 24)],
)
def test_a_token_attends_alike_in_a_prompt_in_a_part_of_it_and_as_the_newest_one(
    native: NativeOps, dtype: torch.dtype, heads: int, kv_heads: int, dim: int,
    biased: bool, window: int | None, cap: float | None,
) -> None:  # fmt: skip
    if native._prefill is None:
        pytest.skip("without AVX-512 prompts are torch's, which sums in another order")
    shape = AttentionShape(heads, kv_heads, dim, window, False, cap)
    for old, new in ((0, 157), (127, 140)):
        qkv, batch, cache = step(shape, dtype, [(old, new)])
        alibi = slopes(shape, old + new) if biased else None
        whole = native.attend(qkv, batch, cache, shape, alibi)
        table = batch.prefills[0].table
        batch.prefills = [Prefill(0, 50, old + 50, table), Prefill(50, new - 50, old + new, table)]
        assert torch.equal(native.attend(qkv, batch, cache, shape, alibi), whole)
        batch.prefills = []
        batch.decode_rows = torch.arange(new)
        batch.decode_lengths = torch.arange(old + 1, old + new + 1)
        batch.decode_tables = table.repeat(new, 1)
        batch.longest_decode = old + new
        assert torch.equal(native.attend(qkv, batch, cache, shape, alibi), whole)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_prompt_that_torch_attends_to_in_pieces_gets_what_it_gets_at_once(
    shape: AttentionShape, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    qkv, batch, cache = step(shape, dtype, [(40, 30), (33, 9)])
    whole = TorchOps().attend(qkv, batch, cache, shape)
    monkeypatch.setattr(ops_module, "SCORE_BYTES", 5000)
    assert ops_module.rows_at_once(shape.heads, shape.kv_heads, 70) < 5
    close(TorchOps().attend(qkv, batch, cache, shape), whole)
