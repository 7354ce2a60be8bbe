"""The heads of Meta's files tell vocabulary and dtype; no torch, no pickle that runs."""

from __future__ import annotations

import pickle
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from berth.checkpoint.folder import load_meta_config
from berth.checkpoint.meta_files import embedding_of
from berth.models.weights.meta import MetaSource
from models.checkpoints import random_tensors, tiny_config, write_meta


@pytest.mark.parametrize(("shards", "divided"), [(1, 1), (2, 1), (2, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_heads_say_what_the_opened_files_say(
    shards: int, divided: int, dtype: torch.dtype, tmp_path: Path
) -> None:
    tensors = random_tensors(tiny_config(), dtype=dtype)
    write_meta(tmp_path, tiny_config(), tensors, shards=shards, embedding_dim=divided)
    with closing(MetaSource(tmp_path)) as source:
        assert load_meta_config(tmp_path) == source.config


def test_no_torch_is_imported(tmp_path: Path) -> None:
    write_meta(tmp_path, tiny_config(), shards=1)
    code = (
        "import sys; from pathlib import Path; from berth.checkpoint.folder import describe; "
        f"described = describe(Path({str(tmp_path)!r})); "
        "assert described.numbers.vocab == 96; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class _Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_code_in_the_pickle_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    with zipfile.ZipFile(tmp_path / "consolidated.00.pth", "w") as archive:
        archive.writestr("consolidated/data.pkl", pickle.dumps({"a": _Evil(mark)}))
    assert embedding_of(tmp_path, 64) is None
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip archive"])
def test_a_broken_file_is_for_its_opener_to_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "consolidated.00.pth").write_bytes(content)
    assert embedding_of(tmp_path, 64) is None
