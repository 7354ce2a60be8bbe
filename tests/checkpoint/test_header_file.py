"""A file's header is read once, as long as the file does not change, and told whole or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from berth.checkpoint import header_file
from berth.checkpoint.header_file import forget_headers, read_header, version_of
from berth.checkpoint.headers import HeaderError

LONG_AGO = (1_000_000_000, 1_000_000_000)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The lengths of the headers that were parsed."""
    found: list[int] = []
    real = header_file.parse_header
    monkeypatch.setattr(
        header_file, "parse_header", lambda text: found.append(len(text)) or real(text)
    )
    forget_headers()
    yield found
    forget_headers()


def write(path: Path, value: float, *, settled: bool = True) -> Path:
    save_file({"b": torch.full((3,), value), "a": torch.zeros(2, 2)}, path)
    if settled:
        os.utime(path, LONG_AGO)
    return path


def test_a_header_says_where_each_tensor_lies(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", 7.0)
    header = read_header(path)
    header.require_whole()
    (b,) = (one for one in header.tensors if one.name == "b")
    content = path.read_bytes()
    assert header.size == len(content)
    data = content[header.start + b.begin : header.start + b.end]
    assert torch.frombuffer(bytearray(data), dtype=torch.float32).tolist() == [7.0] * 3
    assert [one.begin for one in header.tensors] == sorted(one.begin for one in header.tensors)


def test_it_is_read_once(tmp_path: Path, parsed: list[int]) -> None:
    path = write(tmp_path / "m.safetensors", 1.0)
    assert read_header(path) is read_header(path)
    assert len(parsed) == 1
    forget_headers()
    read_header(path)
    assert len(parsed) == 2


def test_a_file_that_changed_is_read_anew(tmp_path: Path, parsed: list[int]) -> None:
    path = write(tmp_path / "m.safetensors", 1.0)
    before = read_header(path)
    other = tmp_path / "other"
    save_file({"c": torch.zeros(9)}, other)
    os.utime(other, LONG_AGO)
    other.replace(path)
    assert [one.name for one in read_header(path).tensors] == ["c"]
    assert before.version != version_of(path)
    assert len(parsed) == 2


def test_a_file_that_was_written_just_now_is_not_kept(tmp_path: Path, parsed: list[int]) -> None:
    """A second writing within the clock's tick would leave the same times."""
    path = write(tmp_path / "m.safetensors", 1.0, settled=False)
    assert read_header(path).version is None
    read_header(path)
    assert len(parsed) == 2


@pytest.mark.parametrize(
    ("kept", "fault"),
    [
        (0, "truncated within its header, at 0 bytes"),
        (7, "truncated within its header, at 7 bytes"),
        (20, "truncated within its header, at 20 bytes"),
    ],
)
def test_a_file_that_ends_in_its_header_says_so(tmp_path: Path, kept: int, fault: str) -> None:
    path = write(tmp_path / "m.safetensors", 1.0)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(HeaderError, match=fault):
        read_header(path)


def test_tensors_fill_the_file_or_it_is_not_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", 1.0)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(HeaderError, match="truncated") as cut:
        read_header(path).require_whole()
    assert cut.value.tensor == read_header(path).tensors[-1].name
    path.write_bytes(whole + b"\0")
    with pytest.raises(HeaderError, match="goes on for 1 bytes"):
        read_header(path).require_whole()
