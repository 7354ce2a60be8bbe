"""How every command ends: its exit code, and its last words if something outside stops it.

0 done, or it fits; 1 it failed, or it does not fit; 2 the question cannot be asked, read or
answered to where it should go; 70 a mistake of ours; 130 Ctrl-C; 141 the output is no longer
read. docs/commands.md has the table.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import click

CANNOT = 2
MISTAKE = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 128 + 2  # as a shell says that SIGINT ended a command
UNREAD = 128 + 13  # and SIGPIPE
# What a write to standard output may meet, whatever lies behind it.
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


class Unread(Exception):
    """The reader of the output has left."""


@contextlib.contextmanager
def unread() -> Iterator[None]:
    """Raises Unread in the place of the system's word for it."""
    try:
        yield
    except BrokenPipeError as error:
        raise Unread from error


class Needs(NamedTuple):
    """A command, and the extras of this package without which it cannot do all it does."""

    command: str
    extras: Sequence[str]


def run(command: Callable[[], Any], needs: Callable[[], Needs]) -> int:
    """Run a command as click does if it is not standalone; the exit code.

    Args:
        needs: asked if a module is missing.
    """
    _open_streams()
    code = _ended(command, needs)
    try:
        sys.stdout.flush()
    except OSError as error:
        code = _unwritten(error.errno)
    return code


def _ended(command: Callable[[], Any], needs: Callable[[], Needs]) -> int:
    try:
        returned = command()
    except Unread:
        return _unwritten(errno.EPIPE)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort as error:
        return INTERRUPTED if isinstance(error.__cause__, KeyboardInterrupt) else 1
    except SystemExit as error:
        # rich ends the process itself if its output is no longer read.
        if isinstance(error.__context__, BrokenPipeError):
            return _unwritten(errno.EPIPE)
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:
        return INTERRUPTED
    except ModuleNotFoundError as error:
        if (said := _missing(error, needs())) is None:
            return _mistake()
        click.echo(f"Error: {said}", err=True)
        return CANNOT
    except OSError as error:
        if error.errno in _UNWRITABLE and error.filename is None:
            return _unwritten(error.errno)
        return _mistake()
    except Exception:
        return _mistake()
    return returned if isinstance(returned, int) else 0


def _open_streams() -> None:
    """A stream that the shell closed (`>&-`) is one that takes everything."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.devnull, "w")))


def _unwritten(number: int | None) -> int:
    """The output cannot be written; and what is left of it is not tried again at the very end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if number == errno.EPIPE:
        return UNREAD
    with contextlib.suppress(OSError):
        said = os.strerror(number or errno.EIO)
        click.echo(f"Error: the output cannot be written: {said}", err=True)
    return CANNOT


def _mistake() -> int:
    traceback.print_exc()
    click.echo(
        "This is a mistake of Berth's; the lines above belong into a report of it.", err=True
    )
    return MISTAKE


def _missing(error: ModuleNotFoundError, needs: Needs) -> str | None:
    """What to install; None if the module is not one of an extra's."""
    module = (error.name or "").partition(".")[0]
    having = extras_with(module)
    if not module or module == "berth" or not having:
        return None
    extras = needs.extras if set(needs.extras) & set(having) else having[:1]
    return (
        f"{needs.command} needs {module}, which is not installed here: "
        f"pip install 'berth[{','.join(extras)}]'"
    )


def extras_with(module: str) -> list[str]:
    """The extras that install a module."""
    return list(dict.fromkeys(extra for extra, of in _requirements() if of == module.lower()))


def modules_of(extra: str) -> list[str]:
    """What an extra installs, by the names that are imported; without what comes by another."""
    return [module for of, module in _requirements() if of == extra and module != "berth"]


def _requirements() -> Iterator[tuple[str, str]]:
    """(extra, module), as this package's own metadata has them: none if it was not installed.

    What its extras require is imported by the name that it is installed by.
    """
    try:
        lines = importlib.metadata.requires("berth") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for line in lines:
        requirement, _, marker = line.partition(";")
        name = re.match(r"[\w.-]+", requirement.strip())
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        if name and extra:
            yield extra[1], name[0].replace("-", "_").lower()
