"""berth keys: who may call a server, made and ended in its database."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import click

from berth.cli.columns import print_columns
from berth.cli.ends import CANNOT
from berth.cli.store_options import place, store_options
from berth.store.errors import KeyIsRevoked, NameTaken, NoSuchKey, StoreError
from berth.store.keys import KeyStore
from berth.store.moments import moment_of, shown, span_of
from berth.store.records import DialectTag, Key, NewKey, Role

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def keys() -> None:
    """Create, list, revoke and rotate API keys.

    Once one key exists, a server with this database asks for a key at every route but its probes
    and its documentation. A running server knows of a change within a few seconds.
    """


@keys.command()
@click.argument("name")
@click.option("--note", default="", help="Anything to be remembered about it.")
@click.option(
    "--role",
    type=click.Choice(get_args(Role)),
    default="user",
    show_default=True,
    help="An admin may also end the server (POST /shutdown).",
)
@click.option("--model", "models", multiple=True, help="A model it may use; repeatable.  [all]")
@click.option("--requests-per-minute", type=int, help="Within any 60 seconds.  [no limit]")
@click.option("--concurrent", type=int, help="Requests at one time.  [no limit]")
@click.option("--expires", help="90d, 12h, 2027-01-31 or 2027-01-31T12:00Z (UTC).  [never]")
@click.option(
    "--dialect",
    type=click.Choice(get_args(DialectTag)),
    help="Dialect of its client, for paths that several dialects share.",
)
@store_options
@_JSON
def create(
    name: str,
    expires: str | None,
    state_dir: Path | None,
    database: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Create a key named NAME and print its secret, once: only a hash of it is stored.

    The secret alone goes to standard output, so that KEY=$(berth keys create ci) has it.
    """
    now = int(time.time())
    with _refusing():
        wanted = NewKey(
            name=name, expires_at=None if expires is None else _moment(expires, now), **options
        )
        with _opened(state_dir, database) as store:
            key, secret = store.create(wanted, now)
    _show_secret(key, secret, now, as_json, f"Created {key.name} ({key.id}).")


@keys.command("list")
@click.option("--all", "everything", is_flag=True, help="Revoked keys too.")
@store_options
@_JSON
def list_keys(
    everything: bool, state_dir: Path | None, database: str | None, as_json: bool
) -> None:
    """List the keys, oldest first. When one was last used is known to half a minute."""
    now = int(time.time())
    with _refusing():
        found = []
        if place(state_dir, database).exists():
            with _opened(state_dir, database) as store:
                found = store.list()
    rows = [key for key in found if everything or key.status(now) != "revoked"]
    if as_json:
        click.echo(json.dumps({"keys": [_told(key, now) for key in rows]}, indent=2))
    elif not rows:
        click.echo("There are no keys." if not found else "All keys are revoked; see --all.")
    else:
        print_columns(
            ("name", "id", "role", "status", "models", "limits", "expires", "last used", "note"),
            [_row(key, now) for key in rows],
        )


@keys.command()
@click.argument("name_or_id")
@store_options
@_JSON
def revoke(name_or_id: str, state_dir: Path | None, database: str | None, as_json: bool) -> None:
    """End a key for good. Running servers refuse it within a few seconds.

    A server does not open again when its last key is revoked.
    """
    now = int(time.time())
    with _refusing(), _opened(state_dir, database) as store:
        key = store.revoke(name_or_id, now)
    if as_json:
        click.echo(json.dumps(_told(key, now), indent=2))
    else:
        click.echo(f"Revoked {key.name} ({key.id}).", err=True)


@keys.command()
@click.argument("name_or_id")
@click.option(
    "--grace",
    default="0",
    help="How long the old secret still opens, as 30m or 24h.  [default: not at all]",
)
@store_options
@_JSON
def rotate(
    name_or_id: str, grace: str, state_dir: Path | None, database: str | None, as_json: bool
) -> None:
    """Give a key a new secret and print it, once. All else about the key stays as it is."""
    now = int(time.time())
    with _refusing():
        try:
            seconds = span_of(grace)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--grace") from None
        with _opened(state_dir, database) as store:
            key, secret = store.rotate(name_or_id, now, seconds)
    still = f" The old secret opens until {shown(now + seconds)}." if seconds else ""
    _show_secret(key, secret, now, as_json, f"Rotated {key.name} ({key.id}).{still}")


@contextmanager
def _opened(state_dir: Path | None, database: str | None) -> Iterator[KeyStore]:
    store = KeyStore(place(state_dir, database))
    try:
        yield store
    finally:
        store.close()


class _Cannot(click.ClickException):
    exit_code = CANNOT


@contextmanager
def _refusing() -> Iterator[None]:
    """Raises, as the command line says them, what is wrong with a key or its database."""
    try:
        yield
    except (NoSuchKey, NameTaken, KeyIsRevoked) as error:
        raise click.ClickException(str(error)) from None
    except StoreError as error:
        raise _Cannot(str(error)) from None
    except PermissionError as error:
        raise _Cannot(f"{error.filename} cannot be read: {error.strerror}") from None
    except ValueError as error:  # a key's fields are named as the options are
        field, _, rest = str(error).partition(" ")
        option = "NAME" if field == "name" else f"--{field.replace('_', '-')}"
        raise click.UsageError(f"{option} {rest}") from None


def _moment(text: str, now: int) -> int:
    try:
        return moment_of(text, now)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--expires") from None


def _show_secret(key: Key, secret: str, now: int, as_json: bool, said: str) -> None:
    if as_json:
        click.echo(json.dumps({**_told(key, now), "secret": secret}, indent=2))
        return
    click.echo(f"{said} Its secret, which is shown this once:", err=True)
    click.echo(secret)


_TOLD: dict[str, Callable[[Any], Any]] = {
    "models": lambda models: list(models) or None,
    **{f"{what}_at": shown for what in ("created", "expires", "revoked", "rotated", "last_used")},
}


def _told(key: Key, now: int) -> dict[str, Any]:
    """A key as JSON tells it: null where there is no limit, no end, or every model."""
    names = (
        "id", "name", "note", "role", "models", "requests_per_minute", "concurrent", "dialect",
        "hint", "created_at", "expires_at", "revoked_at", "rotated_at", "last_used_at",
    )  # fmt: skip
    told = {name: _TOLD.get(name, lambda value: value)(getattr(key, name)) for name in names}
    return {**told, "status": key.status(now)}


def _row(key: Key, now: int) -> tuple[str, ...]:
    limits = [
        f"{key.requests_per_minute}/min" if key.requests_per_minute is not None else "",
        f"{key.concurrent} at once" if key.concurrent is not None else "",
    ]
    return (
        key.name,
        key.id,
        key.role,
        key.status(now),
        ", ".join(key.models) or "all",
        ", ".join(filter(None, limits)) or "none",
        shown(key.expires_at) or "never",
        shown(key.last_used_at) or "never",
        key.note,
    )
