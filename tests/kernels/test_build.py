"""A machine without a compiler serves all the same."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from berth.kernels import build
from berth.kernels.library import library
from berth.kernels.native_ops import NativeOps, make_ops

CHOICE = (
    "import torch; from berth.kernels.native_ops import make_ops;"
    "print(type(make_ops(torch.device('cpu'), torch.float32)).__name__)"
)


def run(monkeypatch: pytest.MonkeyPatch, **environment: str) -> subprocess.CompletedProcess[str]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return subprocess.run(
        [sys.executable, "-c", CHOICE], capture_output=True, text=True, check=True, timeout=120
    )


def test_without_a_compiler_torch_takes_over_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done = run(monkeypatch, CC="/nonexistent/cc", BERTH_CACHE=str(tmp_path))
    assert done.stdout.strip() == "TorchOps"
    assert "CPU kernels are off" in done.stderr
    assert "/nonexistent/cc" in done.stderr


def test_kernels_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, BERTH_KERNELS="off").stdout.strip() == "TorchOps"


def test_a_refusing_compiler_leaves_no_half_built_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CC", "false")
    with pytest.raises(build.BuildError, match="false failed"):
        build.build(tmp_path / "kernels.so")
    assert list(tmp_path.iterdir()) == []


def test_float16_and_gpus_run_on_torch() -> None:
    assert not isinstance(make_ops(torch.device("cpu"), torch.float16), NativeOps)
    assert not isinstance(make_ops(torch.device("cuda"), torch.bfloat16), NativeOps)


def test_an_unusable_library_falls_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setenv("BERTH_KERNELS", str(broken))
    library.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            assert library() is None
        assert "broken.so" in caplog.text
    finally:
        library.cache_clear()
