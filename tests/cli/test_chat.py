"""`berth chat` streams, remembers, stops on Ctrl-C and leaves no trace."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from berth.cli.chat import chat
from cli.double import Double, serving

COMPLETIONS = "/v1/chat/completions"


def run(*arguments: str, lines: str = "") -> Result:
    return CliRunner().invoke(chat, list(arguments), input=lines, env={"BERTH_API_KEY": None})


def messages(double: Double, index: int) -> list[tuple[str, str]]:
    body = double.bodies(COMPLETIONS)[index]
    return [(message["role"], message["content"]) for message in body["messages"]]


def test_once_prints_the_answer_alone() -> None:
    double = Double(bytewise=True)
    with serving(double):
        result = run(double.url, "--once", "capital of France?", "--system", "Be brief.",
                     "--temperature", "0", "--max-tokens", "5", "--api-key", "k")  # fmt: skip
    assert result.exit_code == 0
    assert result.stdout == "The capital is Paris.\n"
    assert messages(double, 0) == [("system", "Be brief."), ("user", "capital of France?")]
    body = double.bodies(COMPLETIONS)[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny", 0, 5)
    assert all(headers["authorization"] == "bearer k" for _, headers, _ in double.requests)


def test_once_reads_a_pipe() -> None:
    double = Double()
    with serving(double):
        result = run(double.url, "--once", "-", lines="what is this?\nand that?\n")
    assert result.exit_code == 0
    assert messages(double, 0) == [("user", "what is this?\nand that?\n")]


def test_once_fails_loudly() -> None:
    for faults in (Double(cut_after=2), Double(error_after=2), Double(refuse=(400, b"{}"))):
        with serving(faults):
            result = run(faults.url, "--once", "hello")
        assert result.exit_code == 1
        assert "Error: the server" in result.stderr


def test_nobody_listening_is_said_with_what_to_do(unused_port: int) -> None:
    result = run(f"http://localhost:{unused_port}", "--once", "hello")
    assert result.exit_code == 1
    assert (
        f"nothing answers at http://localhost:{unused_port}; start it with: berth serve"
        in result.stderr
    )


def test_the_conversation_is_sent_back_until_it_is_reset() -> None:
    double = Double()
    answer = ("assistant", "The capital is Paris.")
    with serving(double):
        result = run(double.url, lines="one\ntwo\n/reset\nthree\n/system Rhyme.\nfour\n/quit\nno\n")
    assert result.exit_code == 0
    assert messages(double, 0) == [("user", "one")]
    assert messages(double, 1) == [("user", "one"), answer, ("user", "two")]
    assert messages(double, 2) == [("user", "three")]
    assert messages(double, 3) == [("system", "Rhyme."), ("user", "four")]
    assert len(double.bodies(COMPLETIONS)) == 4
    assert result.stdout == "The capital is Paris.\n" * 4


def test_an_unknown_command_is_not_sent_to_the_model() -> None:
    double = Double()
    with serving(double):
        result = run(double.url, lines="/rest\n/help\n")
    assert "no command /rest" in result.stderr
    assert "/reset" in result.stdout
    assert double.requests == []


def test_a_refused_question_is_forgotten_and_the_program_goes_on() -> None:
    double = Double(refuse=(400, b'{"error":{"message":"too long"}}'))
    with serving(double):
        result = run(double.url, lines="one\ntwo\n")
    assert result.exit_code == 0
    assert result.stderr.count("the server refused (400): too long") == 2
    assert messages(double, 1) == [("user", "two")]


def test_an_answer_cannot_steer_the_terminal() -> None:
    double = Double(pieces=("a\x1b]0;title\x07", "\r\x9bb\n\tc"))
    with serving(double):
        result = run(double.url, "--once", "hello")
    assert result.stdout == "a]0;titleb\n\tc\n"


def test_an_answer_at_its_limit_says_so() -> None:
    double = Double()
    with serving(double):
        result = run(double.url, "--max-tokens", "3", lines="one\n")
    assert result.stdout == "The capital is\n"
    assert "--max-tokens" in result.stderr


def test_quotes_hold_a_message_of_many_lines() -> None:
    double = Double()
    with serving(double):
        run(double.url, lines='"""first\n\nlast\n"""\n"""one line"""\n"""\nnever closed\n')
    assert [messages(double, index)[-1] for index in range(3)] == [
        ("user", "first\n\nlast"),
        ("user", "one line"),
        ("user", "never closed"),
    ]


@pytest.mark.parametrize("leave", ["/bye", "/exit", "/quit"])
def test_every_usual_word_leaves(leave: str) -> None:
    double = Double()
    with serving(double):
        result = run(double.url, lines=f"one\n{leave}\ntwo\n")
    assert result.exit_code == 0
    assert len(double.bodies(COMPLETIONS)) == 1


def test_a_question_mark_lists_the_commands_and_clear_resets() -> None:
    double = Double()
    with serving(double):
        result = run(double.url, lines="/?\none\n/clear\ntwo\n")
    assert "/bye" in result.stdout
    assert messages(double, 1) == [("user", "two")]


@pytest.mark.parametrize(
    ("context", "told"),
    [
        (15, "fills the model's context of 15 tokens; /reset starts anew"),
        (18, "15 of the context's 18 tokens are used"),
        (100, ""),
        (None, ""),
    ],
)
def test_a_full_context_is_said(context: int | None, told: str) -> None:
    double = Double(context=context)
    with serving(double):
        result = run(double.url, lines="one\n")
    assert result.stdout == "The capital is Paris.\n"
    assert told in result.stderr
    assert bool(told) == bool(result.stderr)


@contextmanager
def process(url: str, home: Path) -> Iterator[subprocess.Popen[str]]:
    # A suite that runs in a shell's background inherits an ignored SIGINT, and passes it on.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from berth.cli.chat import chat; chat()"
    )
    env = {"PYTHONPATH": ":".join(sys.path), "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", code, url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=home, env=env,
    ) as chatting:  # fmt: skip
        try:
            yield chatting
        finally:
            chatting.kill()


def test_ctrl_c_stops_the_answer_and_ctrl_d_leaves(tmp_path: Path) -> None:
    double = Double(endless=True, pause=0.01, pieces=("word ",))
    with serving(double), process(double.url, tmp_path) as chatting:
        assert chatting.stdin is not None
        assert chatting.stdout is not None
        chatting.stdin.write("go on for ever\n")
        chatting.stdin.flush()
        assert chatting.stdout.read(5) == "word "
        chatting.send_signal(signal.SIGINT)
        assert double.hung_up.wait(10), "the connection is closed, so that the server stops"
        double.endless = False
        out, err = chatting.communicate("again\n", timeout=20)
    assert chatting.returncode == 0
    assert "(stopped)" in err
    assert out.endswith("word \n")
    roles = [role for role, _ in messages(double, 1)]
    assert roles == ["user", "assistant", "user"], "what was written so far is remembered"
    assert list(tmp_path.iterdir()) == [], "nothing is written to disk"
