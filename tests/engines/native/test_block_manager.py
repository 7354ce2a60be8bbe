"""Blocks are free or held, shared exactly by content, and evicted least recently used first."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from berth.engines.host.sequence import MOST_ROOT
from berth.engines.native.block_manager import BlockManager


def publish_all(blocks: BlockManager, table: list[int], tokens: list[int], root: int = 0) -> None:
    """Publish every full block of `tokens`, as a scheduler does once they are computed."""
    size, chain = blocks.block_size, blocks.chain_after([], root)
    for index in range(len(tokens) // size):
        part = tokens[index * size : (index + 1) * size]
        chain = blocks.publish(table[index], chain, part)


def hold(blocks: BlockManager, tokens: list[int], root: int = 0) -> list[int]:
    """A table for `tokens`, computed and published."""
    cached = blocks.lookup(tokens, len(tokens), root)
    table = blocks.allocate(cached, blocks.blocks_for(len(tokens)))
    publish_all(blocks, table, tokens, root)
    return table


@pytest.mark.parametrize(("num_blocks", "block_size"), [(0, 16), (4, 0), (-1, 1)])
def test_a_pool_without_room_is_refused(num_blocks: int, block_size: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        BlockManager(num_blocks, block_size)


@pytest.mark.parametrize(("positions", "needed"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_positions_round_up_to_blocks(positions: int, needed: int) -> None:
    assert BlockManager(8, 4).blocks_for(positions) == needed


def test_a_table_has_distinct_blocks_and_returns_them() -> None:
    blocks = BlockManager(6, 4)
    first, second = blocks.allocate([], 2), blocks.allocate([], 3)
    assert len({*first, *second}) == 5
    assert (blocks.free_blocks, blocks.used_blocks) == (1, 5)
    first.append(blocks.append())
    assert blocks.free_blocks == 0
    with pytest.raises(IndexError):
        blocks.append()
    blocks.free(first)
    assert (blocks.free_blocks, blocks.used_blocks) == (3, 3)
    blocks.free(second)
    assert (blocks.free_blocks, blocks.used_blocks) == (6, 0)


def test_a_block_is_found_only_once_it_is_published() -> None:
    blocks = BlockManager(4, 2)
    table = blocks.allocate([], 2)
    assert blocks.lookup([1, 2, 3, 4], 2) == []
    chain = blocks.publish(table[0], 0, [1, 2])
    assert blocks.lookup([1, 2, 3, 4], 2) == table[:1]
    blocks.publish(table[1], chain, [3, 4])
    assert blocks.lookup([1, 2, 3, 4], 2) == table


def test_only_full_blocks_up_to_the_limit_are_found() -> None:
    blocks = BlockManager(4, 2)
    table = hold(blocks, [1, 2, 3, 4])
    assert blocks.lookup([1, 2, 3], 9) == table[:1]
    assert blocks.lookup([1, 2, 3, 4, 5], 9) == table
    assert blocks.lookup([1, 2, 3, 4, 5], 1) == table[:1]
    assert blocks.lookup([1, 2, 3, 4, 5], 0) == []
    assert blocks.lookup([], 9) == []


def test_the_same_tokens_after_another_prefix_are_not_shared() -> None:
    blocks = BlockManager(8, 2)
    first = hold(blocks, [1, 2, 7, 8])
    assert blocks.lookup([7, 8], 1) == []
    second = hold(blocks, [3, 4, 7, 8])
    assert not {*first} & {*second}
    assert blocks.lookup([1, 2, 7, 8], 2) == first
    assert blocks.lookup([3, 4, 7, 8], 2) == second


def test_the_same_tokens_under_another_root_are_not_shared() -> None:
    blocks = BlockManager(8, 2)
    plain, adapted = hold(blocks, [1, 2, 3, 4]), hold(blocks, [1, 2, 3, 4], root=7)
    assert not {*plain} & {*adapted}
    assert blocks.lookup([1, 2, 3, 4], 2) == plain
    assert blocks.lookup([1, 2, 3, 4], 2, 7) == adapted
    assert blocks.lookup([1, 2, 3, 4], 2, 8) == []
    assert hold(blocks, [1, 2, 3, 4], root=7) == adapted


@pytest.mark.parametrize("contents", [1, 5])
def test_a_root_is_never_taken_for_a_contents_number(contents: int) -> None:
    """Contents count from 1 too: the second block of one must not be another root's first."""
    blocks = BlockManager(16, 1)
    hold(blocks, list(range(10, 10 + contents)))
    hold(blocks, [*range(10, 10 + contents), 99])
    for root in range(1, 2 * contents + 3):
        assert blocks.lookup([99], 1, root) == []
    assert hold(blocks, [5], root=MOST_ROOT) == blocks.lookup([5], 1, MOST_ROOT)


def test_a_shared_block_is_free_when_its_last_holder_lets_go() -> None:
    blocks = BlockManager(4, 2)
    first, second = hold(blocks, [1, 2, 3]), hold(blocks, [1, 2, 4])
    assert first[0] == second[0]
    assert blocks.used_blocks == 3
    blocks.free(first)
    assert blocks.used_blocks == 2
    blocks.free(second)
    assert blocks.used_blocks == 0


def test_a_freed_prefix_is_found_again_and_counted_in_room() -> None:
    blocks = BlockManager(3, 2)
    table = hold(blocks, [1, 2, 3, 4])
    blocks.free(table)
    cached = blocks.lookup([1, 2, 3, 4, 5], 2)
    assert cached == table
    # Two cold blocks and the one unused: taking all three leaves none.
    assert blocks.room_after(cached, 3) == 0
    assert blocks.room_after(cached, 4) == -1
    assert blocks.allocate(cached, 3)[:2] == table
    # While they are held, sharing them takes nothing from the free ones.
    assert blocks.room_after(cached, 2) == 0


def test_cached_blocks_are_not_evicted_for_the_table_that_uses_them() -> None:
    blocks = BlockManager(3, 2)
    blocks.free(hold(blocks, [1, 2]))
    blocks.free(hold(blocks, [3, 4]))
    cached = blocks.lookup([1, 2, 9, 9, 9, 9], 2)
    table = blocks.allocate(cached, 3)  # must evict [3, 4], though [1, 2] was the older
    assert len({*table}) == 3
    assert blocks.lookup([1, 2], 1) == table[:1]
    assert blocks.lookup([3, 4], 1) == []


def test_unused_blocks_go_first_then_the_least_recently_held() -> None:
    blocks = BlockManager(4, 1)
    for token in (1, 2, 3):
        blocks.free(hold(blocks, [token]))
    blocks.free(hold(blocks, [1]))  # held again: now the most recent
    blocks.append()  # the unused one
    assert [len(blocks.lookup([token], 1)) for token in (1, 2, 3)] == [1, 1, 1]
    for evicted in (2, 3, 1):
        assert blocks.lookup([evicted], 1)
        blocks.append()
        assert not blocks.lookup([evicted], 1)
    assert blocks.free_blocks == 0


def test_a_prefix_outlives_what_follows_it() -> None:
    blocks = BlockManager(3, 1)
    table = hold(blocks, [1, 2, 3])
    blocks.free(table)
    blocks.append()
    assert blocks.lookup([1, 2, 3], 3) == table[:2]
    blocks.append()
    assert blocks.lookup([1, 2, 3], 3) == table[:1]


def test_an_equal_block_computed_twice_stays_private() -> None:
    blocks = BlockManager(4, 2)
    first, second = blocks.allocate([], 2), blocks.allocate([], 2)
    publish_all(blocks, first, [1, 2, 3, 4])
    publish_all(blocks, second, [1, 2, 5, 6])  # its first block is a duplicate
    assert blocks.lookup([1, 2, 3, 4], 2) == first
    assert blocks.lookup([1, 2, 5, 6], 2) == [first[0], second[1]]
    blocks.free(second)
    assert blocks.used_blocks == 2
    blocks.free(first)
    assert blocks.free_blocks == 4


def test_a_new_block_in_an_evicted_ones_place_does_not_inherit_its_followers() -> None:
    blocks = BlockManager(4, 1)
    parent = blocks.allocate([], 1)
    chain = blocks.publish(parent[0], 0, [1])
    child = blocks.allocate([], 1)
    blocks.publish(child[0], chain, [2])  # [1, 2], held apart from its parent
    blocks.free(parent)
    rest = blocks.allocate([], 3)  # evicts the parent
    assert parent[0] in rest
    blocks.publish(parent[0], 0, [7])
    assert blocks.lookup([7, 2], 2) == [parent[0]]
    assert blocks.lookup([1, 2], 2) == []


def test_without_prefix_caching_nothing_is_found() -> None:
    blocks = BlockManager(4, 2, prefix_caching=False)
    table = blocks.allocate([], 1)
    blocks.publish(table[0], 0, [1, 2])
    assert blocks.lookup([1, 2], 1) == []


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
def test_a_found_block_always_holds_exactly_that_prefix(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 2))
    blocks = BlockManager(data.draw(st.integers(1, 7)), size)
    prompts = st.lists(st.integers(0, 1), min_size=1, max_size=5 * size)
    tables: list[list[int]] = []
    # What each block was last filled with, after the root under which it was.
    content: dict[int, tuple[int, ...]] = {}
    for _ in range(data.draw(st.integers(1, 25))):
        victim: int = data.draw(st.integers(0, 7))
        if victim < len(tables):
            blocks.free(tables.pop(victim))
        tokens: list[int] = data.draw(prompts)
        root: int = data.draw(st.sampled_from([0, 0, 1, 2, MOST_ROOT]))
        found = blocks.lookup(tokens, len(tokens), root)
        for index, block in enumerate(found):
            assert content[block] == (root, *tokens[: (index + 1) * size])
        total = blocks.blocks_for(len(tokens))
        room = blocks.room_after(found, total)
        if room < 0:
            continue
        table = blocks.allocate(found, total)
        assert blocks.free_blocks == room
        assert len({*table}) == total
        for index in range(len(found), total):
            content[table[index]] = (root, *tokens[: (index + 1) * size])
        publish_all(blocks, table, tokens, root)
        tables.append(table)
        assert blocks.used_blocks == len({block for held in tables for block in held})
    for table in tables:
        blocks.free(table)
    assert blocks.used_blocks == 0
