"""Leave out of an installed tree what no server reads, and compile the rest.

What goes, and why it may: headers and command-line tools serve who compiles against a package, and
setuptools who builds one; tests serve a package's developers; of transformers' models, modular_*.py
is what their code was generated from, and convert_*.py reads other formats; kubernetes has its
client twice, and Berth uses the one without asyncio. sympy, networkx and mpmath are imported by
torch.compile and torch.export alone, which the native engine does not use; transformers does.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import shutil
import sys
from pathlib import Path

# From site-packages. Checked by running the image: tests/images.
UNUSED = (
    "torch/include",
    "torch/share",
    "torch/test",
    "torch/bin/*test*",
    "torch/bin/*Test*",
    "torch/bin/*benchmark*",
    "torch/bin/protoc*",
    "torch/lib/*test*.so",
    "torch/lib/libbackend_with_compiler.so",
    "torch/lib/libaoti_custom_ops.so",
    "torch/**/*.pyi",
    "numpy/**/tests",
    "numpy/**/*.pyi",
    "numpy/_core/include",
    "numpy/_core/lib/*.a",
    "numpy/random/lib/*.a",
    "numpy/f2py",
    "kubernetes/aio",
    "fairscale/experimental",
    "sympy/**/tests",
    "sympy/**/benchmarks",
    "networkx/**/tests",
    "mpmath/tests",
    "transformers/models/*/modular_*.py",
    "transformers/models/*/convert_*.py",
    "setuptools",
    "setuptools-*",
    "_distutils_hack",
    "distutils-precedence.pth",
)
COMPILER_ONLY = ("sympy", "networkx", "mpmath", "isympy.py")


def trim(packages: Path, keep: list[str]) -> None:
    """Delete what is unused. `keep`: the extras that were installed."""
    patterns = [*UNUSED, *(() if "transformers" in keep else COMPILER_ONLY)]
    for pattern in patterns:
        for path in sorted(packages.glob(pattern)):
            if not path.exists():
                continue  # within one that went before
            size = _size(path)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            if size >= 1_000_000:
                sys.stdout.write(f"left out {path.relative_to(packages)}: {_mb(size)}\n")


def compile_all(folders: list[Path]) -> None:
    """Byte code for every module, checked by nothing at run time.

    The usual kind holds its source's time of change, which differs from build to build; and a
    read-only file system could not take what Python would otherwise compile at each start.
    """
    for folder in folders:
        compileall.compile_dir(
            folder,
            quiet=2,
            force=True,
            workers=1,  # one process: what it writes depends on nothing but the sources' order
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def settle(folders: list[Path]) -> None:
    """Give every file the same time and the modes that everybody can read.

    Otherwise a layer's digest would depend on when it was built, and on the builder's umask.
    """
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            if not path.is_symlink():
                runs = path.is_dir() or path.stat().st_mode & 0o100
                path.chmod(0o755 if runs else 0o644)
            os.utime(path, (0, 0), follow_symlinks=False)


def table(folders: list[Path], least: int = 2_000_000) -> None:
    """Print what takes the space."""
    sizes = [
        (_size(path), path.name)
        for folder in folders
        for path in folder.iterdir()
        if not path.name.endswith((".dist-info", ".libs"))
    ]
    for size, name in sorted(sizes, reverse=True):
        if size >= least:
            sys.stdout.write(f"{_mb(size):>9}  {name}\n")
    sys.stdout.write(f"{_mb(sum(_size(folder) for folder in folders)):>9}  in all\n")


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size
    return sum(
        os.lstat(os.path.join(root, name)).st_size
        for root, _, names in os.walk(path)
        for name in names
    )


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
