"""Compiles the kernels for this machine's CPU, once, into a cache."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SOURCES = ("kernels.c", "linear.c", "int8.c", "ops.h", "choose.h", "draw.h")
# No -ffast-math: linked into a shared library it would flush denormals in the whole process, and
# the sampler's guard needs NaN to stay NaN.
FLAGS = (
    "-O3",
    "-mprefer-vector-width=512",
    "-fopenmp",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-shared",
    "-fPIC",
    "-fvisibility=hidden",
    "-Wno-psabi",
)


NATIVE = ("-march=native",)


class BuildError(Exception):
    """The kernels could not be compiled; the message says why."""


def _cpu() -> str:
    """What -march=native depends on: a cache may be shared between different machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("flags")), platform.processor())


def cpu_flags() -> frozenset[str]:
    """What this CPU can do, by the names of /proc/cpuinfo; empty if that does not say."""
    name, _, flags = _cpu().partition(":")
    return frozenset(flags.split()) if name.strip() == "flags" else frozenset()


def cache_path() -> Path:
    """Where this source, compiled for this CPU, is or will be."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((Path(__file__).parent / name).read_bytes())
    digest.update(" ".join((*NATIVE, *FLAGS, platform.machine(), _cpu())).encode())
    base = os.environ.get("BERTH_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "berth" / f"kernels-{digest.hexdigest()[:16]}.so"


def build(target: Path, arch: Sequence[str] = NATIVE) -> Path:
    """Compile to `target`, replacing it in one step so that two builders cannot clash.

    Args:
        arch: the compiler's options that name the CPU; this machine's own.

    Raises:
        BuildError: no C compiler, or it refused; the message is its last line.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise BuildError("no C compiler (cc) was found")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=target.parent, suffix=".so")
    except OSError as error:
        raise BuildError(f"cannot write to {target.parent}: {error.strerror}") from error
    os.close(handle)
    sources = [str(Path(__file__).parent / name) for name in SOURCES if name.endswith(".c")]
    command = [compiler, *arch, *FLAGS, *sources, "-o", scratch, "-lm"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            raise BuildError(f"{compiler} failed: {last}")
        os.replace(scratch, target)
    except OSError as error:
        raise BuildError(f"{compiler} cannot run: {error.strerror}") from error
    finally:
        Path(scratch).unlink(missing_ok=True)
    return target


def main() -> int:
    """`python -m berth.kernels.build`: compile ahead of the first start."""
    logging.basicConfig(format="%(message)s")
    try:
        sys.stdout.write(f"CPU kernels: {build(cache_path())}\n")
    except BuildError as error:
        sys.stdout.write(f"CPU kernels are off, torch will be used instead (slower): {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
