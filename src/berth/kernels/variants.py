"""Kernels for machines that the compiler has not seen: one library for each kind of x86 CPU.

An image is built on one machine and runs on others: there -march=native would end in SIGILL. So it
holds a folder of libraries, BERTH_KERNELS names the folder, and each start takes the best one that
the CPU can run. The levels are those of the x86-64 psABI, and one above them for CPUs with AMX
(Intel from Sapphire Rapids on), which linear.c has code for.

On other machines than x86-64 there is no variant, and torch takes over.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from berth.kernels.build import BuildError, build, cpu_flags


@dataclass(frozen=True, slots=True)
class Variant:
    """One kind of CPU. `needs` are names in /proc/cpuinfo's flags."""

    name: str
    arch: tuple[str, ...]  # the compiler's
    needs: frozenset[str]


_V2 = frozenset({"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"})
_V3 = _V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}

# The best one first.
VARIANTS = (
    Variant(
        "x86-64-v4-amx",
        (
            *("-march=x86-64-v4", "-mtune=sapphirerapids", "-mavx512vnni", "-mavx512bf16"),
            *("-mamx-tile", "-mamx-bf16", "-mamx-int8"),
        ),
        _V4 | {"avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8"},
    ),
    Variant("x86-64-v4", ("-march=x86-64-v4",), _V4),
    Variant("x86-64-v3", ("-march=x86-64-v3",), _V3),
    Variant("x86-64-v2", ("-march=x86-64-v2",), _V2),
)


def library_of(variant: Variant) -> str:
    """Its file in the folder."""
    return f"kernels-{variant.name}.so"


def build_all(folder: Path) -> list[Path]:
    """Compile every variant into `folder`; none if this is no x86-64.

    Raises:
        BuildError: no C compiler, or it refused.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return []
    return [build(folder / library_of(variant), arch=variant.arch) for variant in VARIANTS]


def best_in(folder: Path, flags: frozenset[str] | None = None) -> Path:
    """The best library of `folder` that a CPU with these flags runs; this CPU if None.

    Raises:
        BuildError: there is none.
    """
    have = cpu_flags() if flags is None else flags
    for variant in VARIANTS:
        path = folder / library_of(variant)
        if variant.needs <= have and path.exists():
            return path
    raise BuildError(f"{folder} has no library for this CPU")


def main() -> int:
    """`python -m berth.kernels.variants FOLDER`: what an image's build runs."""
    made = build_all(Path(sys.argv[1]))
    for path in made:
        sys.stdout.write(f"CPU kernels: {path} ({path.stat().st_size // 1024} KiB)\n")
    if not made:
        sys.stdout.write("CPU kernels are off on this kind of machine: torch is used instead\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
