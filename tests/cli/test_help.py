"""The help of the commands: what each option's sentence says is true of that option."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import click

from berth.cli.main import main


def options(command: click.Command, words: str) -> Iterator[tuple[str, click.Option]]:
    """Every option below a command, with the words that call its command."""
    yield from ((words, one) for one in command.params if isinstance(one, click.Option))
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from options(below, f"{words} {name}")


def test_no_sentence_is_the_help_of_two_options() -> None:
    """One that fits two options of different names is wrong of one, or says too little of both."""
    names: dict[str, set[str]] = defaultdict(set)
    for words, option in options(main, "berth"):
        if option.help and not option.hidden:
            names[option.help].add(option.opts[0])
            assert words != "berth" or option.opts[0] in ("--version", "--help")
    assert len(names) > 100
    assert {text: told for text, told in names.items() if len(told) > 1} == {}


def test_the_lease_is_the_controllers_alone() -> None:
    told = {words for words, option in options(main, "berth") if "lease" in (option.help or "")}
    assert told == {"berth controller"}
