"""What one of several models takes: fit's own terms, and a cache that leaves room for others."""

from __future__ import annotations

from typing import Any

import pytest

from berth.fit.share import SEQUENCES, Share, share_of
from fit.shapes import llama

GIB = 2**30
SMALL: Any = {"engine": "native", "total": 512 * GIB, "max_num_seqs": 8, "max_batch_tokens": 1024}


def term(share: Share, name: str) -> int:
    return sum(each.bytes for each in share.terms if each.name == name)


def test_it_is_the_sum_of_a_ranks_terms_without_what_the_server_has_once() -> None:
    share = share_of(llama(), room=400 * GIB, **SMALL)
    names = {each.name for each in share.terms}
    assert {"weights", "kv cache", "runtime overhead"} <= names
    assert not {"server", "programs"} & names
    assert share.bytes >= term(share, "weights") + term(share, "kv cache")
    assert share.bytes <= sum(each.bytes for each in share.terms)
    assert any(line.startswith("weights: ") for line in share.lines())


def test_the_cache_holds_a_few_of_the_longest_sequences_and_no_more_than_run() -> None:
    few = share_of(llama(), room=400 * GIB, **SMALL | {"max_num_seqs": SEQUENCES})
    many = share_of(llama(), room=400 * GIB, **SMALL)
    one = share_of(llama(), room=400 * GIB, **SMALL | {"max_num_seqs": 1})
    assert many.kv_cache_bytes == few.kv_cache_bytes == SEQUENCES * one.kv_cache_bytes
    assert one.kv_cache_bytes > 0


def test_a_cache_of_the_operators_size_is_taken_as_it_is() -> None:
    plain = share_of(llama(), room=400 * GIB, **SMALL)
    fixed = share_of(llama(), room=400 * GIB, kv_cache_bytes=3 * GIB, **SMALL)
    assert fixed.kv_cache_bytes == term(fixed, "kv cache") == 3 * GIB
    assert fixed.bytes - plain.bytes == 3 * GIB - plain.kv_cache_bytes
    assert share_of(llama(), room=1, kv_cache_bytes=3 * GIB, **SMALL) == fixed


def test_if_room_is_short_the_context_is_cut_unless_it_was_asked_for() -> None:
    plain = share_of(llama(), room=400 * GIB, **SMALL)
    one = share_of(llama(), room=plain.bytes - 1, **SMALL)
    assert one.kv_cache_bytes == plain.kv_cache_bytes // SEQUENCES
    cut = share_of(llama(), room=one.bytes - 1, **SMALL)
    assert cut.bytes <= one.bytes - 1
    assert 0 < cut.kv_cache_bytes < one.kv_cache_bytes
    asked = share_of(llama(), room=one.bytes - 1, max_model_len=llama().context, **SMALL)
    assert asked.bytes == one.bytes  # it does not fit, and that is what has to be said


@pytest.mark.parametrize("degree", [1, 2])
def test_all_ranks_are_counted(degree: int) -> None:
    share = share_of(llama(), room=400 * GIB, degree=degree, **SMALL)
    assert share.bytes >= degree * (term(share, "weights") + share.kv_cache_bytes)
