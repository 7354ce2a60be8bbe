"""Headers of safetensors files: what a model weighs, read without its weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from berth.checkpoint.headers import HeaderError, header_length, parse_header


def test_a_real_files_header_has_every_tensor_to_the_byte(tmp_path: Path) -> None:
    tensors = {
        "a": torch.zeros(3, 5, dtype=torch.bfloat16),
        "b": torch.zeros(7, dtype=torch.float32),
        "c": torch.zeros(2, 2, dtype=torch.float8_e4m3fn),
        "d": torch.zeros(4, dtype=torch.int32),
    }
    save_file(tensors, tmp_path / "m.safetensors", metadata={"format": "pt"})
    content = (tmp_path / "m.safetensors").read_bytes()
    length = header_length(content[:8])
    found = {t.name: t for t in parse_header(content[8 : 8 + length])}
    assert {name: t.bytes for name, t in found.items()} == {
        name: tensor.nbytes for name, tensor in tensors.items()
    }
    assert found["a"].shape == (3, 5)
    assert found["c"].dtype == "F8_E4M3"


@pytest.mark.parametrize(
    ("start", "fault"),
    [
        (b"", "at least 8 bytes"),
        (b"<!DOCTYPE html>", "not possible"),
        ((0).to_bytes(8, "little"), "not possible"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(start: bytes, fault: str) -> None:
    with pytest.raises(HeaderError, match=fault):
        header_length(start)


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        (b"{", "not a JSON object"),
        (b"[" * 200_000, "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b'{"a": 1}', "not an object"),
        (b'{"a": {"dtype": "F32", "shape": [2]}}', "data_offsets"),
        (b'{"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}', "data_offsets"),
        (b'{"a": {"dtype": "F3", "shape": [2], "data_offsets": [8, 0]}}', "data_offsets"),
        (b'{"a": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}', "data_offsets"),
        (
            b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 9]}}',
            "takes 8",
        ),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(header: bytes, fault: str) -> None:
    with pytest.raises(HeaderError, match=fault):
        parse_header(header)


def test_a_dtype_that_we_do_not_know_is_taken_at_its_offsets() -> None:
    entry = {"dtype": "F3", "shape": [8], "data_offsets": [0, 3]}
    assert parse_header(json.dumps({"a": entry}).encode())[0].bytes == 3
