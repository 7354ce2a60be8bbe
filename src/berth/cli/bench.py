"""`berth bench`: how fast a server answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import cast

import click
import msgspec
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from berth import __version__
from berth.cli.http_client import ClientError, Target, Unreachable, bearer, parse_url, served_model
from berth.cli.load import Ask, Dialect, Run, closed_loop, make_prompts, open_loop, run_async
from berth.cli.load_stats import Spread, Summary, summarise

_WARM_UP_TOKENS = 8
_MAX_CONCURRENCY = 10_000


def _levels(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...]:
    """One or several whole numbers with commas between them."""
    try:
        levels = tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{value!r} should be whole numbers with commas, like 1,8,32"
        ) from None
    if not all(1 <= level <= _MAX_CONCURRENCY for level in levels):
        raise click.BadParameter(f"every number should be from 1 to {_MAX_CONCURRENCY}")
    return tuple(dict.fromkeys(levels))


def server_address(_ctx: click.Context, _param: click.Parameter, value: str) -> Target:
    """The URL argument of the clients."""
    try:
        return parse_url(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _finite(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"should be a number above 0, not {value}")
    return value


@click.command()
@click.argument("url", callback=server_address, default="http://localhost:5000")
@click.option(
    "--concurrency",
    metavar="N[,N…]",
    callback=_levels,
    default="1,8,32",
    show_default=True,
    help="Clients at once (closed loop); one run for each number.",
)
@click.option(
    "--rate",
    type=float,
    callback=_finite,
    help="Requests per second on average, arriving at random (open loop, Poisson), "
    "instead of --concurrency.",
)
@click.option(
    "--requests",
    type=click.IntRange(1, 1_000_000),
    help="Requests per run. [default: 4 times the concurrency; 64 with --rate]",
)
@click.option(
    "--input-tokens",
    type=click.IntRange(1, 1_000_000),
    default=128,
    show_default=True,
    help="Length of every prompt.",
)
@click.option(
    "--output-tokens",
    type=click.IntRange(1, 1_000_000),
    default=128,
    show_default=True,
    help="Length of every answer.",
)
@click.option(
    "--dialect",
    type=click.Choice(["openai", "kaito"]),
    default="openai",
    show_default=True,
    help="POST /v1/completions with token ids, or POST /generate with text.",
)
@click.option(
    "--text",
    is_flag=True,
    help="Send prompts of words instead of token ids; about a token per word.",
)
@click.option(
    "--vocab-size",
    type=click.IntRange(2),
    default=1000,
    show_default=True,
    help="Token ids are drawn below this.",
)
@click.option(
    "--ignore-eos/--no-ignore-eos",
    default=True,
    show_default=True,
    help="Ask for exactly --output-tokens (vLLM's ignore_eos and min_tokens, which "
    "Berth knows too).",
)
@click.option("--model", help="Model to ask for. [default: the first of /v1/models]")
@click.option("--api-key", envvar="BERTH_API_KEY", show_envvar=True, help="The server's key.")
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed of prompts and arrivals. Change it so that a prefix cache cannot help.",
)
@click.option(
    "--timeout",
    type=float,
    default=600.0,
    callback=_finite,
    show_default=True,
    help="Seconds that one request may take.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the figures to this file too.",
)
@click.pass_context
def bench(
    ctx: click.Context, url: Target, concurrency: tuple[int, ...], rate: float | None,
    requests: int | None, input_tokens: int, output_tokens: int, dialect: str, text: bool,
    vocab_size: int, ignore_eos: bool, model: str | None, api_key: str | None, seed: int,
    timeout: float, json_file: Path | None,
) -> None:  # fmt: skip
    """Measure a server at URL: tokens per second, time to first token, inter-token latency.

    URL is any server with OpenAI's /v1/completions, or KAITO's /generate.

    \b
      berth bench                                  this machine, port 5000
      berth bench http://host:8000 --concurrency 1,64
      berth bench --rate 2.5 --requests 200        random arrivals

    Ends with 1 if any request failed.
    """
    given = ctx.get_parameter_source("concurrency")
    if rate is not None and given is not click.core.ParameterSource.DEFAULT:
        raise click.UsageError("--rate and --concurrency exclude each other; give one of them")
    if rate is None and requests is not None and requests < max(concurrency):
        raise click.BadParameter(
            f"{requests} requests cannot keep {max(concurrency)} clients busy",
            param_hint="--requests",
        )
    if json_file is not None and not json_file.parent.is_dir():
        raise click.BadParameter(f"there is no folder {json_file.parent}", param_hint="--json")
    try:
        headers = bearer(api_key)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--api-key") from None
    ask = Ask(
        dialect=cast(Dialect, dialect),
        model=model,
        output_tokens=output_tokens,
        ignore_eos=ignore_eos,
        headers=headers,
        timeout=timeout,
    )
    plan = _Plan(
        target=url,
        ask=ask,
        levels=concurrency if rate is None else (None,),
        rate=rate,
        requests=requests,
        input_tokens=input_tokens,
        vocab_size=vocab_size,
        as_text=text or dialect == "kaito",
        seed=seed,
    )
    console = Console()
    try:
        cells = run_async(_measure(plan, Console(stderr=True)))
    except Unreachable as error:
        raise click.ClickException(f"{error}; start it with: berth serve") from None
    except ClientError as error:
        raise click.ClickException(str(error)) from None
    console.print(_table(url, plan, cells))
    for line in _notes(cells):
        console.print(line, markup=False, highlight=False)
    if json_file is not None:
        json_file.write_bytes(_record(plan, cells))
    if any(summary.errors for _, summary in cells):
        ctx.exit(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What will be sent. A level is a number of clients, or None for the open loop."""

    target: Target
    ask: Ask
    levels: tuple[int | None, ...]
    rate: float | None
    requests: int | None
    input_tokens: int
    vocab_size: int
    as_text: bool
    seed: int

    def count(self, level: int | None) -> int:
        """Requests of one level."""
        if self.requests is not None:
            return self.requests
        return 64 if level is None else 4 * level


Cells = list[tuple[int | None, Summary]]


async def _measure(plan: _Plan, console: Console) -> Cells:
    """Warm the server up, then run every level. Raises ClientError if the server cannot serve."""
    ask = plan.ask
    if ask.model is None and ask.dialect == "openai":
        ask = replace(ask, model=(await served_model(plan.target, ask.headers)).id)
    await _warm_up(plan, ask)
    cells: Cells = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for level in plan.levels:
            name = f"{level} at once" if level else f"{plan.rate:g} per second"
            task = progress.add_task(name, total=plan.count(level))
            run = await _run_level(plan, ask, level, partial(progress.advance, task))
            cells.append((level, summarise(run, ask.output_tokens)))
    return cells


async def _warm_up(plan: _Plan, ask: Ask) -> None:
    """A short request, so that no run pays for what happens once. Raises ClientError."""
    short = replace(ask, output_tokens=min(_WARM_UP_TOKENS, ask.output_tokens))
    prompts = make_prompts(1, plan.input_tokens, seed=f"{plan.seed}/warm-up",
                           vocab_size=plan.vocab_size, as_text=plan.as_text)  # fmt: skip
    run = await closed_loop(plan.target, short, prompts, 1)
    if (error := run.outcomes[0].error) is not None:
        raise ClientError(f"the first request failed: {error}")


async def _run_level(plan: _Plan, ask: Ask, level: int | None, on_done: Callable[[], None]) -> Run:
    seed = f"{plan.seed}/{level}"
    prompts = make_prompts(plan.count(level), plan.input_tokens, seed=seed,
                           vocab_size=plan.vocab_size, as_text=plan.as_text)  # fmt: skip
    if level is not None:
        return await closed_loop(plan.target, ask, prompts, level, on_done)
    assert plan.rate is not None
    return await open_loop(plan.target, ask, prompts, plan.rate, seed, on_done)


def _table(target: Target, plan: _Plan, cells: Cells) -> Table:
    """One column per level, so that it fits a narrow terminal."""
    kind = "words" if plan.as_text else "tokens"
    table = Table(
        title=f"{target.url}: {plan.input_tokens} {kind} in, {plan.ask.output_tokens} tokens out",
        caption="times in milliseconds: p50 / p90 / p99",
        box=box.SIMPLE,
    )
    table.add_column("clients at once" if plan.rate is None else "requests per second")
    for level, _ in cells:
        table.add_column(str(level) if level else f"{plan.rate:g}", justify="right")
    figures = [summary for _, summary in cells]
    for label, values in (
        ("requests", [str(one.requests) for one in figures]),
        ("failed", [str(sum(one.errors.values())) for one in figures]),
        ("output tokens/s", [_number(one.output_tokens_per_second) for one in figures]),
        ("first token", [_milliseconds(one.ttft) for one in figures]),
        ("inter-token", [_milliseconds(one.inter_token) for one in figures]),
        ("event gap", [_milliseconds(one.event_gap) for one in figures]),
        ("whole answer", [_milliseconds(one.latency) for one in figures]),
        ("client µs/token", [_number(one.client_cpu_per_token, 1e6) for one in figures]),
    ):
        table.add_row(label, *values)
    return table


def _number(value: float | None, scale: float = 1.0) -> str:
    if value is None:
        return "–"
    return f"{value * scale:.{1 if value * scale < 100 else 0}f}"


def _milliseconds(spread: Spread | None) -> str:
    if spread is None:
        return "–"
    return " / ".join(_number(value, 1e3) for value in (spread.p50, spread.p90, spread.p99))


def _notes(cells: Cells) -> list[str]:
    """What a reader of the table must know."""
    notes = []
    errors: dict[str, int] = {}
    for _, summary in cells:
        for sentence, count in summary.errors.items():
            errors[sentence] = errors.get(sentence, 0) + count
    notes += [f"{count} × {sentence}" for sentence, count in errors.items()]
    if short := sum(summary.short for _, summary in cells):
        notes.append(f"{short} answers were shorter than asked: the server does not ignore the end "
                     "of sequence")  # fmt: skip
    if any(summary.counted_events for _, summary in cells):
        notes.append("The server does not say how many tokens it sent; each event counts as one.")
    return notes


def _record(plan: _Plan, cells: Cells) -> bytes:
    """The JSON file: what was asked, and the figures in seconds."""
    record = {
        "berth": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "dialect": plan.ask.dialect,
        "input_tokens": plan.input_tokens,
        "output_tokens": plan.ask.output_tokens,
        "seed": plan.seed,
        "runs": [{"concurrency": level, "rate": None if level else plan.rate, **asdict(summary)}
                 for level, summary in cells],
    }  # fmt: skip
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
