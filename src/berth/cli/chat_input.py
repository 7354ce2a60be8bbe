"""Where `berth chat` gets its questions from: a terminal, or a pipe.

At a terminal prompt_toolkit edits the line, takes a pasted text as one message (bracketed paste,
and lines that arrive in one burst where a terminal has no such thing) and keeps its history in
memory. A pipe gives a question a line. In both, `\"\"\"` opens and closes a message of many lines.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

QUOTES = '"""'


class Questions(Protocol):
    """A source of messages."""

    interactive: bool

    def next(self) -> str:
        """The next message, stripped. Raises EOFError at the end, KeyboardInterrupt on Ctrl-C."""

    def quiet(self) -> contextlib.AbstractContextManager[None]:
        """While an answer is printed: what is typed meanwhile is not shown among its words."""


def questions() -> Questions:
    """The terminal if standard input is one, else the pipe."""
    return Terminal() if sys.stdin.isatty() else Pipe()


def quoted(first: str, more: Iterator[str]) -> str:
    """A message that begins with `first`; one that opens quotes goes on until they are closed.

    Quotes that are not closed end with the input.
    """
    if not first.startswith(QUOTES):
        return first
    text = first.removeprefix(QUOTES)
    while not text.rstrip().endswith(QUOTES):
        try:
            text += "\n" + next(more)
        except StopIteration:
            return text.strip()
    return text.rstrip().removesuffix(QUOTES).strip()


class Pipe:
    """A question a line from standard input."""

    interactive = False

    def next(self) -> str:
        lines = (line.rstrip("\r\n") for line in iter(sys.stdin.readline, ""))
        for line in lines:
            return quoted(line.strip(), lines)
        raise EOFError

    def quiet(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


class Terminal:
    """Questions typed or pasted at a terminal."""

    interactive = True

    def __init__(self) -> None:
        self._session = _session()

    def next(self) -> str:
        return quoted(self._session.prompt("> ").strip(), self._continued())

    def _continued(self) -> Iterator[str]:
        while True:
            try:
                yield self._session.prompt("... ")
            except EOFError:
                return

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Echo off, Ctrl-C as ever; what was typed stands in the next prompt."""
        import termios

        fd = sys.stdin.fileno()
        before = termios.tcgetattr(fd)
        silent = [*before]
        # Without ICANON too: the next prompt must find what was typed without an Enter.
        silent[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(fd, termios.TCSADRAIN, silent)
        try:
            yield
        finally:
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _session() -> PromptSession[str]:
    # Imported here: a pipe needs none of it, and it takes 0.1 s.
    from prompt_toolkit import PromptSession
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    keys = KeyBindings()

    @keys.add("enter")
    def _enter(event: KeyPressEvent) -> None:
        """Send; but a line break with more behind it in the same burst was pasted, not typed."""
        if event.app.key_processor.input_queue or _waiting():
            event.current_buffer.insert_text("\n")
        else:
            event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return PromptSession(key_bindings=keys, multiline=True, prompt_continuation="... ")


def _waiting() -> bool:
    """Whether more input lies ready at the terminal."""
    if os.name != "posix":
        return False
    return bool(select.select([sys.stdin.fileno()], [], [], 0)[0])
