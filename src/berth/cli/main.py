"""The berth command. Subcommands are loaded when they are called: --help needs none of them."""

from __future__ import annotations

import importlib

import click

from berth import __version__

# Name, module and the line that --help shows.
_COMMANDS = {
    "serve": ("berth.cli.serve", "Serve a model over HTTP."),
    "chat": ("berth.cli.chat", "Talk to a served model in the terminal."),
    "fit": ("berth.cli.fit", "Say whether a model fits a machine, before anything is paid for."),
    "check": ("berth.cli.check", "Say whether a model can be placed in the cluster now."),
    "plan": ("berth.cli.plan", "Say what a Workspace would become, without a cluster."),
    "controller": ("berth.cli.controller", "Keep every Workspace of a cluster as asked for."),
    "pull": ("berth.cli.pull", "Download a model's weights."),
    "build": ("berth.cli.build", "Build a model's container image."),
    "presets": ("berth.cli.presets", "List the catalogue of models, or show one."),
    "convert": ("berth.cli.convert", "Convert weights between Meta's and Hugging Face's layout."),
    "bench": ("berth.cli.bench", "Measure a server's speed."),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(_COMMANDS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="berth")
def main() -> None:
    """Berth gives an open-weight language model its place in a Kubernetes cluster.

    Start with `berth serve`: it serves the small built-in model on port 5000. Then ask it
    something with `berth chat`.
    """


if __name__ == "__main__":
    main()
