"""An image's kernels run on whatever CPU it meets, and are the best for it."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

import pytest
import torch  # noqa: F401  # first: its OpenMP runtime is the one that the kernels run on

from berth.kernels.build import BuildError, build, cpu_flags
from berth.kernels.library import library
from berth.kernels.variants import VARIANTS, best_in, library_of

NAMES = {variant.name: variant for variant in VARIANTS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for variant in VARIANTS:
        (tmp_path / library_of(variant)).touch()
    return tmp_path


def test_each_kind_of_cpu_gets_the_best_that_it_runs(folder: Path) -> None:
    for variant in VARIANTS:
        assert best_in(folder, variant.needs).name == library_of(variant)
    without_amx = NAMES["x86-64-v4-amx"].needs - {"amx_bf16"}
    assert best_in(folder, without_amx).name == "kernels-x86-64-v4.so"
    without_avx512 = NAMES["x86-64-v4"].needs - {"avx512f"}
    assert best_in(folder, without_avx512).name == "kernels-x86-64-v3.so"


def test_a_library_that_is_missing_is_passed_over(folder: Path) -> None:
    (folder / library_of(VARIANTS[0])).unlink()
    assert best_in(folder, VARIANTS[0].needs).name == library_of(VARIANTS[1])


def test_a_cpu_below_all_of_them_is_refused(folder: Path) -> None:
    with pytest.raises(BuildError, match="no library for this CPU"):
        best_in(folder, frozenset({"sse2"}))


def test_no_variant_is_compiled_for_the_machine_that_compiles_it() -> None:
    assert all("native" not in word for variant in VARIANTS for word in variant.arch)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86-64 has variants")
def test_the_best_one_is_compiled_and_loaded_where_a_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = next(variant for variant in VARIANTS if variant.needs <= cpu_flags())
    path = build(tmp_path / library_of(best), arch=best.arch)
    monkeypatch.setenv("BERTH_KERNELS", str(tmp_path))
    library.cache_clear()
    try:
        loaded = library()
        assert isinstance(loaded, ctypes.CDLL)
        assert loaded._name == str(path)
    finally:
        library.cache_clear()
