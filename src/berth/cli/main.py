"""The berth command. Subcommands are loaded when they are called: --help needs none of them."""

from __future__ import annotations

import importlib
import keyword
import sys
from functools import partial
from typing import Any, NamedTuple

import click

from berth import __version__
from berth.cli import ends


class _Command(NamedTuple):
    module: str
    line: str  # that --help shows
    extras: tuple[str, ...] = ()  # without which it cannot do all it does


_COMMANDS = {
    "serve": _Command("berth.cli.serve", "Serve a model over HTTP.", ("server", "engine")),
    "chat": _Command("berth.cli.chat", "Talk to a served model in the terminal."),
    "keys": _Command("berth.cli.keys", "Create, list, revoke and rotate API keys.", ("server",)),
    "config": _Command("berth.cli.config", "Check or show a berth.yaml.", ("server",)),
    "import": _Command("berth.cli.importing", "Make a berth.yaml of another server's files."),
    "fit": _Command(
        "berth.cli.fit",
        "Say whether a model fits a machine, before anything is paid for.",
        ("server", "engine"),
    ),
    "check": _Command(
        "berth.cli.check",
        "Say whether a model can be placed in the cluster now.",
        ("controller",),
    ),
    "plan": _Command("berth.cli.plan", "Say what a Workspace would become, without a cluster."),
    "controller": _Command(
        "berth.cli.controller",
        "Keep every Workspace of a cluster as asked for.",
        ("controller",),
    ),
    "pull": _Command("berth.cli.pull", "Download a model's weights.", ("server",)),
    "build": _Command("berth.cli.build", "Build a model's container image.", ("server",)),
    "presets": _Command("berth.cli.presets", "List the catalogue of models, or show one."),
    "verify": _Command(
        "berth.cli.verify",
        "Hold a model's files to their checksums.",
        ("engine",),
    ),
    "convert": _Command(
        "berth.cli.convert",
        "Convert weights between Meta's and Hugging Face's layout.",
        ("engine",),
    ),
    "bench": _Command("berth.cli.bench", "Measure a server's speed."),
}


class _Lazy(click.Group):
    _called = ""  # the subcommand

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        self._called = cmd_name
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        command = getattr(importlib.import_module(_COMMANDS[cmd_name].module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.line) for name, command in _COMMANDS.items()])

    # If the output is no longer read, click would end with 1, which is "does not fit" here.

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with ends.unread():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with ends.unread():
            return super().invoke(ctx)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        whole = partial(super().main, *args, standalone_mode=False, **extra)
        if not standalone_mode:
            return whole()
        sys.exit(ends.run(whole, self._needs))

    def _needs(self) -> ends.Needs:
        """Of the subcommand that was called."""
        known = _COMMANDS.get(self._called)
        return ends.Needs(f"berth {self._called}".strip(), known.extras if known else ())


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="berth")
def main() -> None:
    """Berth gives an open-weight language model its place in a Kubernetes cluster.

    Start with `berth serve`: it serves the small built-in model on port 5000. Then ask it
    something with `berth chat`.
    """


if __name__ == "__main__":
    main()
