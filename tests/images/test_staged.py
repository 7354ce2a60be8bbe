"""A build tool sees plain files, and only those that serving needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from berth.images import staged as staged_module
from berth.images.staged import staged
from berth.images.weight_files import WeightsMissing
from images.checkout import write_huggingface, write_meta, write_pulled


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_plain_folder_with_nothing_else_is_used_as_it_is(tmp_path: Path) -> None:
    folder = write_meta(tmp_path / "weights", 2)
    with staged(folder) as seen:
        assert seen == folder


def test_links_of_the_cache_become_hard_links_that_go_away(tmp_path: Path) -> None:
    snapshot = write_pulled(tmp_path / "cache", "someone/small", shards=2)
    expected = {path.name: path.stat().st_ino for path in snapshot.iterdir()}
    with staged(snapshot) as seen:
        assert {path.name: path.lstat().st_ino for path in seen.iterdir()} == expected
        assert not any(path.is_symlink() for path in seen.rglob("*"))
    assert not seen.exists()
    assert {path.name: path.stat().st_ino for path in snapshot.iterdir()} == expected


def test_a_second_copy_in_another_format_is_left_out(tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path / "weights", 2)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "original").mkdir()
    (folder / "original" / "consolidated.00.pth").write_bytes(b"again")
    with staged(folder) as seen:
        assert files(seen) == files(folder) - {"pytorch_model.bin", "original/consolidated.00.pth"}


def test_where_no_link_can_be_made_the_plain_folder_goes_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another device")

    folder = write_huggingface(tmp_path / "weights")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    monkeypatch.setattr(staged_module.os, "link", refuse)
    with staged(folder) as seen:
        assert seen == folder
    snapshot = write_pulled(tmp_path / "cache", "someone/small")
    with (
        pytest.raises(WeightsMissing, match=r"links lead out of it.*--to DIR"),
        staged(snapshot),
    ):
        pass
    assert not list(tmp_path.rglob(".berth-build-*"))


def test_a_linked_folder_is_followed(tmp_path: Path) -> None:
    folder = write_meta(tmp_path / "weights")
    link = tmp_path / "named"
    link.symlink_to(folder)
    with staged(link) as seen:
        assert files(seen) == files(folder)
        assert not seen.is_symlink()


def test_a_tokeniser_beside_the_folder_is_taken_along(tmp_path: Path) -> None:
    folder = write_meta(tmp_path / "llama" / "7b")
    (folder / "tokenizer.model").rename(tmp_path / "llama" / "tokenizer.model")
    with staged(folder, tmp_path / "llama" / "tokenizer.model") as seen:
        assert files(seen) == {"consolidated.00.pth", "params.json", "tokenizer.model"}
