"""A condition repeats the lines of a log that say why a container ended, each whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.workspace.last_words import last_words

ACCESS = '{"level":"info","logger":"berth.access","message":"request","route":"/chat"}'


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("ValueError: no such layer\n", "ValueError: no such layer"),
        (f"{ACCESS}\n{ACCESS}", ""),
        (f'oute":"/chat","status":200}}\n{ACCESS}', ""),
        (f'{ACCESS}\n{{"level":"error","message":"it broke","error":"OSError"}}\n{ACCESS}',
         "it broke (OSError)"),
        ('{"level":"info","message":"draining"}\n{"level":"info","message":"ended"}',
         "draining\nended"),
        ('{"level":"info","message":"loading"}\nKilled by hand', "Killed by hand"),
        ("\n".join(f"line {n}" for n in range(50)), "\n".join(f"line {n}" for n in range(42, 50))),
        ("x" * 3000, "x" * 1000 + "…"),
    ],
)  # fmt: skip
def test_the_lines_that_matter_are_kept(log: str, words: str) -> None:
    assert last_words(log) == words


@given(st.text(max_size=3000))
def test_any_log_gives_some_words_of_bounded_length(log: str) -> None:
    assert len(last_words(log)) <= 2010
