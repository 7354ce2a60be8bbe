"""`berth chat` at a terminal: what is pasted is one message, what is typed ahead is not echoed."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyte
import pytest

from cli.double import Double, serving

COMPLETIONS = "/v1/chat/completions"


class Terminal:
    """A terminal of 80 columns with berth chat in it."""

    def __init__(self, fd: int, process: subprocess.Popen[bytes]) -> None:
        self.fd, self.process = fd, process
        self._screen = pyte.Screen(80, 40)
        self._stream = pyte.ByteStream(self._screen)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def lines(self) -> list[str]:
        """What is on the screen, without empty lines."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def wait(self, shown: Callable[[list[str]], bool], seconds: float = 30) -> list[str]:
        """The screen's lines once `shown` is true of them."""
        deadline = time.monotonic() + seconds
        while not shown(self.lines()):
            left = deadline - time.monotonic()
            assert left > 0, self.lines()
            if select.select([self.fd], [], [], left)[0]:
                self._stream.feed(os.read(self.fd, 65536))
        return self.lines()

    def prompt(self) -> list[str]:
        """The screen once it ends with an empty prompt."""
        return self.wait(lambda lines: bool(lines) and lines[-1] == ">")


@contextmanager
def chatting(url: str) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    env = {"PYTHONPATH": ":".join(sys.path), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    code = (
        "import fcntl, signal, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from berth.cli.chat import chat; chat()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, url],
        stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(slave)
        try:
            yield Terminal(master, process)
        finally:
            process.kill()
            os.close(master)


@pytest.mark.parametrize("bracketed", [True, False])
def test_a_pasted_paragraph_is_one_message(bracketed: bool) -> None:
    double = Double()
    paragraph = "A first line,\na second.\n\nAnd a third?"
    pasted = f"\x1b[200~{paragraph}\x1b[201~" if bracketed else paragraph.replace("\n", "\r")
    with serving(double), chatting(double.url) as terminal:
        terminal.prompt()
        terminal.type(pasted)
        terminal.wait(lambda lines: lines[-1].endswith("And a third?"))
        terminal.type("\r")
        assert "The capital is Paris." in terminal.prompt()
        terminal.type("/bye\r")
        assert terminal.process.wait(10) == 0
    [body] = double.bodies(COMPLETIONS)
    assert body["messages"] == [{"role": "user", "content": paragraph}]


def test_what_is_typed_during_an_answer_waits_for_the_next_prompt() -> None:
    double = Double(pieces=tuple(f"w{n} " for n in range(20)), pause=0.05)
    with serving(double), chatting(double.url) as terminal:
        terminal.prompt()
        terminal.type("count\r")
        terminal.wait(lambda lines: any("w3" in line for line in lines))
        terminal.type("and again\r")
        lines = terminal.wait(lambda lines: " ".join(lines).count("w19") == 2)
        assert "> and again" in lines
        words = " ".join(lines).split()
        assert words[words.index("w0") : words.index("w19") + 1] == [f"w{n}" for n in range(20)]
        terminal.prompt()
        terminal.type("\x04")
        assert terminal.process.wait(10) == 0
    assert [body["messages"][-1]["content"] for body in double.bodies(COMPLETIONS)] == [
        "count",
        "and again",
    ]


def test_ctrl_c_stops_an_answer_at_a_terminal() -> None:
    double = Double(endless=True, pause=0.01, pieces=("word ",))
    with serving(double), chatting(double.url) as terminal:
        terminal.prompt()
        terminal.type("go on for ever\r")
        terminal.wait(lambda lines: any("word word" in line for line in lines))
        terminal.type("\x03")
        assert "(stopped)" in terminal.prompt()
        assert double.hung_up.wait(10)
        terminal.type("\x04")
        assert terminal.process.wait(10) == 0
