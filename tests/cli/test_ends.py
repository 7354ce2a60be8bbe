"""How a command ends, whatever happens to its output: no traceback, and no other one's code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from berth.cli import ends
from berth.cli.main import main
from e2e.berth_server import ROOT, poll

BERTH = [sys.executable, "-m", "berth.cli.main"]
POCKET = "workspace-examples/pocket/pocket.yaml"
# Commands whose answer is long or short, fits or does not, and help.
SPEAKING = (
    ["fit", "pocket", "--ram", "4"],
    ["fit", "llama-2-70b-chat", "--ram", "4"],
    ["fit", "llama-2-7b", "--all-skus"],
    ["fit", "pocket", "--ram", "4", "--json"],
    ["plan", POCKET, "--ram", "8"],
    ["plan", POCKET, "--ram", "8", "-o", "yaml"],
    ["presets"],
    ["presets", "--json"],
    ["presets", "pocket"],
    ["--help"],
    ["fit", "--help"],
    ["--version"],
)


def run(arguments: Sequence[str], stdout: int, **more: int) -> tuple[int, str]:
    done = subprocess.run(
        [*BERTH, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
        **more,  # type: ignore[call-overload]
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", SPEAKING, ids=" ".join)
def test_output_that_is_not_read_ends_as_a_shell_says_it(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # as `| true`: nobody reads a single byte
    try:
        assert run(arguments, writer) == (141, "")
    finally:
        os.close(writer)


@pytest.mark.parametrize("arguments", SPEAKING, ids=" ".join)
def test_a_full_disk_is_named_and_is_no_answer(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        code, said = run(arguments, full.fileno())
    assert (code, said) == (
        2,
        "Error: the output cannot be written: No space left on device\n",
    )


def test_closed_streams_are_no_mistake() -> None:
    def closed(*arguments: str) -> int:
        shell = " ".join([*BERTH, *arguments, ">&-", "2>&-"])
        return subprocess.run(["sh", "-c", shell], cwd=ROOT, timeout=120, check=False).returncode

    assert closed("presets") == 0
    assert closed("fit", "pocket", "--ram", "4") == 0
    assert closed("fit", "llama-2-70b-chat", "--ram", "4") == 1


def test_the_first_lines_of_an_answer_are_there_when_the_rest_is_not_read() -> None:
    shell = " ".join([*BERTH, "presets", "--json", "|", "head", "-n", "1"])
    done = subprocess.run(
        ["bash", "-c", f"{shell}; echo ${{PIPESTATUS[0]}}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.splitlines()[0] == "["
    assert done.stdout.splitlines()[1] in ("0", "141")  # it may have written all before
    assert done.stderr == ""


def test_ctrl_c_ends_a_command_with_130_and_no_traceback(tmp_path: Path) -> None:
    """While it waits for something: here for a manifest on standard input."""
    ready = tmp_path / "ready"
    code = (
        # A suite that runs in the background hands an ignored Ctrl-C down.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sys, pathlib; from berth.cli import plan_files as files\n"
        f"real = files.read_files; mark = pathlib.Path({str(ready)!r})\n"
        "from berth.cli import plan\n"
        "plan.read_files = lambda paths: (mark.touch(), real(paths))[1]\n"
        "from berth.cli.main import main; main(['plan', '-', '--ram', '4'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        poll(ready.exists, what="the question")
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
    assert (process.returncode, out, said.strip()) == (130, "", "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["fit", "pocket", "--ram", "4"], 0),
        (["fit", "llama-2-70b-chat", "--ram", "4"], 1),
        (["plan", "workspace-examples/does-not-fit.yaml"], 1),
        (["fit", "no-such-model", "--ram", "4"], 2),
        (["fit", "pocket"], 2),
        (["plan", "no-such-file.yaml"], 2),
        (["serve", "no-such-model"], 2),
        (["nonsense"], 2),
        (["check", "pocket", "--cpu", "--kubeconfig", "/nowhere"], 2),
        (["bench", "http://127.0.0.1:9"], 1),
    ],
)
def test_the_code_says_what_became_of_the_question(arguments: list[str], code: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        done = CliRunner().invoke(main, arguments)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output


def test_a_mistake_of_ours_is_not_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def wrong() -> None:
        raise ZeroDivisionError("ours")

    code = ends.run(lambda: wrong.main([], standalone_mode=False), lambda: ends.Needs("x", ()))
    assert code == ends.MISTAKE == 70
    said = capsys.readouterr().err
    assert "ZeroDivisionError: ours" in said
    assert "This is a mistake of Berth's" in said


def test_a_module_that_belongs_to_no_extra_is_a_mistake_too() -> None:
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'berth.nothing'", name="berth.nothing")

    assert ends.run(missing, lambda: ends.Needs("x", ("server",))) == 70


def test_a_file_that_cannot_be_written_is_not_taken_for_the_output(tmp_path: Path) -> None:
    def elsewhere() -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "model.safetensors"))

    assert ends.run(elsewhere, lambda: ends.Needs("x", ())) == 70
