"""berth serve: one model, over HTTP. The launch arguments of KAITO's images work unchanged."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import logging
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import click
import msgspec
from click.core import ParameterSource
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from berth.checkpoint.choose import engine_for
from berth.checkpoint.errors import ConfigError
from berth.checkpoint.folder import describe
from berth.checkpoint.layout import folder_layout
from berth.cli.config_file import CONFIG_OPTION, Loaded, aliases, for_model, loaded_by, overridden
from berth.cli.config_reload import Reload
from berth.cli.degree import automatic_degree, visible_gpus
from berth.cli.ends import modules_of
from berth.cli.model_argument import ModelName
from berth.cli.option_groups import options_of
from berth.cli.refused import refuse
from berth.cli.serve_options import ENGINE, HTTP, PARALLEL, RUNTIME
from berth.cli.served_model import find_model, holds_files, same_model
from berth.cli.several import SEVERAL_OPTIONS, Several, are_several, folders_in, share_machine
from berth.cli.store_options import STORE_OPTIONS, place_if_any
from berth.images.weight_files import WeightsMissing
from berth.presets.catalogue import PresetError
from berth.presets.source import PullError
from berth.protocol.config import EngineConfig
from berth.protocol.engines import ENGINES, GENERATING, EngineKind
from berth.server.auth import bind_host
from berth.server.keys import Keys
from berth.server.logs import configure_logging
from berth.server.metrics import Metrics
from berth.server.own_keys import parse_api_keys
from berth.server.run import CannotListen, run, serve_models
from berth.server.settings import ServerSettings
from berth.server.worker_node import serve_worker
from berth.serving.launch import LaunchConfig
from berth.serving.model_service import ModelService
from berth.serving.models import Model, Models
from berth.serving.observer import Observer, RequestsOnly
from berth.serving.open_model import ServingConfig, open_model
from berth.store.errors import StoreError
from berth.store.source import KeySource
from berth.tokenizer.base import TokenizerError

_log = logging.getLogger("berth.serving")
_STDERR = Console(stderr=True)
# What is wrong with what the owner said.
_REFUSALS = (
    ConfigError, PresetError, PullError, StoreError, TokenizerError, WeightsMissing, ValueError,
)  # fmt: skip


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("models", metavar="[MODEL]...", nargs=-1, type=ModelName())
@options_of([CONFIG_OPTION], HTTP, SEVERAL_OPTIONS, STORE_OPTIONS, ENGINE, RUNTIME, PARALLEL)
def serve(models: tuple[str, ...], **options: Any) -> None:
    """Serve MODEL over HTTP: a preset of the catalogue, a folder of weights, or a hub id.

    Of several models each is loaded when a request names it. If memory is short, the one that was
    idle longest is ended for it; requests wait for their turn.

    Without MODEL it is the small built-in one, pocket. A folder holds either Meta's files
    (consolidated.NN.pth, params.json, tokenizer.model) or Hugging Face's (*.safetensors,
    config.json, tokenizer.json).

    With BERTH_API_KEY set (one key, or several separated by commas), or with keys of `berth keys`
    in the database, every route but the probes and the documentation asks for one. Without keys
    the server listens on this machine only, unless --host is given.

    BERTH_MODEL, BERTH_WEIGHTS, BERTH_HOST, BERTH_PORT and BERTH_DEGREE stand for what is not given
    here; container images set them. Every other option can be a key of the file of --config, or a
    variable such as BERTH_LIMITS__MAX_WAITING. SIGHUP reads the file anew.
    """
    level = getattr(logging, options["log_level"].upper())
    configure_logging(cast(Literal["text", "json"], options["log_format"]), level)
    ctx = click.get_current_context()
    loaded = loaded_by(ctx)
    for line in overridden(ctx, loaded):
        _log.info("%s", line)
    if loaded.models:
        if models:
            raise click.UsageError(
                f"{loaded.path} has several models; leave MODEL out, or the file"
            )
        models = tuple(loaded.models)
        each = [for_model(ctx, said) for said in loaded.models.values()]
    else:
        each = [{**options, "models": (named,)} for named in models or (None,)]
        if options["models_dir"] is not None and not models:
            each = []
    try:
        keys = _keys(options)
        settings = _settings(options, keys)
        on_demand = are_several(models, options)
        if on_demand:
            by_model = loaded.models and "alias" in loaded.options
            typed = ctx.get_parameter_source("alias") is ParameterSource.COMMANDLINE
            further = aliases(loaded.configuration) if by_model and not typed else options["alias"]
            several = share_machine(_servings(models, each, options), options)
        else:
            serving = _serving(models[0] if models else None, options)
    except _REFUSALS as error:
        raise click.UsageError(str(error)) from error
    try:
        if on_demand:
            sys.exit(run(_serve_several(several, further, settings, keys, ctx)))
        sys.exit(run(_serve(serving, options["alias"], settings, keys, ctx)))
    except CannotListen as error:
        raise click.ClickException(str(error)) from error


def _servings(
    models: Sequence[str], each: Sequence[dict[str, Any]], options: dict[str, Any]
) -> list[ServingConfig]:
    """Each model as it would be served alone. Raises what is wrong with one, under its name.

    Args:
        each: what was said of each of `models`; of one that was not named, if there are none.
        options: what was said of all, those in --models-dir included.
    """
    source = click.get_current_context().get_parameter_source
    if len(models) <= 1 and options["models_dir"] is None:
        return [_serving(said["models"][0], said) for said in each]
    if source("weights") is ParameterSource.COMMANDLINE:
        raise ValueError("--weights is of one model, and several are given")
    servings = []
    for model, said in zip(models, each, strict=True):
        try:
            servings.append(_serving(said["models"][0], said))
        except _REFUSALS as error:
            raise ValueError(f"{model}: {error}") from error
    for folder in folders_in(options["models_dir"]):
        try:
            servings.append(_serving(folder, options))
        except (*_REFUSALS, ModuleNotFoundError) as error:  # the others are served all the same
            _log.warning("%s is not served: %s", folder, error)
    if not servings:
        raise ValueError(f"no engine serves any folder in {options['models_dir']}")
    return servings


def _weights_are_meant(named: str | None, weights: str | None) -> bool:
    """Whether an image's own weights are to be served; always where the owner named them."""
    source = click.get_current_context().get_parameter_source
    if weights is None or source("weights") is not ParameterSource.ENVIRONMENT:
        return True
    if weights != os.environ.get("BERTH_WEIGHTS"):
        return True  # a configuration's model has its own
    holds = holds_files(Path(weights))
    own = os.environ.get("BERTH_MODEL", "")
    if named is not None:
        # Another model's, unless it is the image's own that was named.
        return holds and same_model(named, own)
    return not own or holds


def _keys(options: dict[str, Any]) -> Keys:
    """Who may call, as it is now. Raises ValueError or StoreError."""
    from_file: Loaded = options["config"]
    given = (*parse_api_keys(os.environ.get("BERTH_API_KEY")), *from_file.keys)
    own = tuple(dict.fromkeys(given))
    where = place_if_any(options["state_dir"], options["database"])
    keys = Keys(own, None if where is None else KeySource(where))
    keys.load()
    return keys


def _settings(options: dict[str, Any], keys: Keys) -> ServerSettings:
    """What the owner said of the server. Raises what is wrong with it."""
    return ServerSettings(
        host=bind_host(options["host"], keys.asked),
        port=options["port"],
        allow_shutdown=options["allow_shutdown"],
        grace_seconds=options["grace"],
        request_timeout_seconds=options["request_timeout"],
        cors_origins=options["cors_origin"],
        allowed_hosts=options["allowed_host"],
        forwarded_allow=options["forwarded_allow"],
        log_format=options["log_format"],
    )


def _serving(named: str | None, options: dict[str, Any]) -> ServingConfig:
    """What the owner said of one model; `named` on the command line. Raises what is wrong."""
    weights = options["weights"] if _weights_are_meant(named, options["weights"]) else None
    found = find_model(named or os.environ.get("BERTH_MODEL") or None, weights)
    kind = _engine_kind(found.path, options)
    _require(kind)
    degree = _degree(found.path, kind, options)
    refuse(found.path, kind, degree, trust=options["trust_remote_code"])
    address, port = _endpoint(options["rdzv_endpoint"])
    launch = LaunchConfig(
        nnodes=options["nnodes"],
        node_rank=options["node_rank"],
        master_addr=address,
        master_port=port,
        hang_timeout=options["hang_timeout"],
        max_backoff=options["restart_pause"],
    )
    engine = EngineConfig(
        model=str(found.path),
        socket="",  # the supervisor makes one for each start
        engine=kind,
        device=options["device"],
        dtype=options["dtype"],
        threads=options["threads"],
        max_model_len=options["max_model_len"],
        max_num_seqs=options["max_num_seqs"],
        max_batch_tokens=max(options["max_batch_tokens"], options["max_num_seqs"]),
        kv_cache_bytes=options["kv_cache_memory"],
        memory_fraction=options["memory_fraction"],
        verify=options["verify"],
        prefix_caching=not options["no_prefix_caching"],
        degree=degree,
        trust_remote_code=options["trust_remote_code"],
        load_in_8bit=options["load_in_8bit"],
        load_in_4bit=options["load_in_4bit"],
        device_map=options["device_map"],
    )
    return open_model(
        engine,
        model_id=options["model_id"] or found.name,
        tokenizer=options["tokenizer"],
        template=options["chat_template"],
        fallback_template=found.template,
        launch=launch,
        max_waiting=options["max_waiting"],
        request_timeout=options["request_timeout"],
    )


def _require(kind: EngineKind) -> None:
    """Raises ModuleNotFoundError where what the engine imports is not installed: said here, and
    not by an engine that was started in vain."""
    for module in modules_of(ENGINES[kind].extra):
        if importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def _engine_kind(folder: Path, options: dict[str, Any]) -> EngineKind:
    """The engine for this folder. Raises what contradicts itself, or what the engine cannot do."""
    if options["trust_remote_code"] and options["disable_trust_remote_code"]:
        raise ValueError("--trust-remote-code and --disable_trust_remote_code exclude each other")
    if options["load_in_8bit"] and options["load_in_4bit"]:
        raise ValueError("--load-in-8bit and --load-in-4bit exclude each other")
    quantise = options["load_in_8bit"] or options["load_in_4bit"]
    choice = engine_for(describe(folder), options["engine"], quantise=quantise)
    kind = choice.engine
    if choice.why is not None:
        _log.info("the engine is transformers: %s", choice.why)
    several = options["degree"] not in (1, "auto") or options["nnodes"] > 1
    if several and ENGINES[kind].parallel == "layers":
        raise ValueError(
            f"the {kind} engine is one process on one node, which spreads a model over that "
            "node's GPUs by itself (--device-map); leave --degree and --nnodes out"
        )
    return kind


def _degree(folder: Path, kind: EngineKind, options: dict[str, Any]) -> int:
    """Ranks over all nodes. Raises ConfigError or ValueError."""
    if options["degree"] != "auto":
        return cast(int, options["degree"])
    if ENGINES[kind].parallel == "layers":
        return 1
    if options["nnodes"] > 1:
        raise ValueError("--degree auto counts this machine's GPUs; with --nnodes give the number")
    return automatic_degree(folder, 0 if options["device"] == "cpu" else visible_gpus())


def _endpoint(text: str | None) -> tuple[str | None, int | None]:
    if text is None:
        return None, None
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"--rdzv-endpoint should be HOST:PORT, not {text!r}")
    return host, int(port)


async def _serve(
    serving: ServingConfig,
    aliases: Sequence[str],
    settings: ServerSettings,
    keys: Keys,
    ctx: click.Context,
) -> int:
    if serving.launch.node_rank > 0:
        return await serve_worker(serving, settings)
    metrics = Metrics()
    model = _model(serving, metrics.of(serving.model_id))
    models = Models([model], aliases)

    def rename(found: Mapping[str, str]) -> None:
        models.set_aliases(list(found))

    _reload_on_sighup(Reload(ctx, loaded_by(ctx), keys, rename, model.set_max_waiting))
    return await _run(models, settings, metrics, keys)


async def _serve_several(
    several: Several,
    aliases: Sequence[str] | Mapping[str, str],
    settings: ServerSettings,
    keys: Keys,
    ctx: click.Context,
) -> int:
    metrics = Metrics()
    models = several.models(metrics, aliases)

    def rename(found: Mapping[str, str]) -> None:
        for alias, name in found.items():
            if name not in models.own_names:
                _log.warning("aliases.%s waits for a restart, as its model %s does", alias, name)
        models.set_aliases({a: name for a, name in found.items() if name in models.own_names})

    _reload_on_sighup(Reload(ctx, loaded_by(ctx), keys, rename, None))
    return await _run(models, settings, metrics, keys)


def _reload_on_sighup(reload: Reload) -> None:
    """Without a file the signal ends the server, as it ends any program."""
    if reload.path is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)


async def _run(models: Models, settings: ServerSettings, metrics: Metrics, keys: Keys) -> int:
    shown: list[asyncio.Task[None]] = []

    def listening(host: str, port: int) -> None:
        shown.append(asyncio.create_task(_show_loading(models, host, port)))

    try:
        return await serve_models(models, settings, metrics, listening, keys)
    finally:
        for task in shown:
            task.cancel()


def _model(serving: ServingConfig, observer: Observer) -> Model:
    """The model on its engine, with generate behind it where that can read the folder too."""
    engine = serving.engine
    if (
        ENGINES[engine.engine].generates
        or serving.launch.nnodes > 1
        or folder_layout(Path(engine.model)) not in ENGINES[GENERATING].layouts
        or importlib.util.find_spec("transformers") is None
    ):
        return Model(ModelService(serving, observer))
    second = msgspec.structs.replace(engine, engine=GENERATING, degree=1)
    generating = dataclasses.replace(serving, engine=second)
    return Model(
        ModelService(serving, observer),
        generating=lambda: ModelService(generating, RequestsOnly(observer)),
    )


async def _show_loading(models: Models, host: str, port: int) -> None:
    """A progress bar while weights load, where a person watches; then where to ask."""
    columns = TextColumn("loading {task.description}"), BarColumn(), TaskProgressColumn()
    watched = sys.stderr.isatty()
    with Progress(
        *columns, TimeElapsedColumn(), transient=True, disable=not watched, console=_STDERR
    ) as progress:
        names = ", ".join(models.own_names)
        task = progress.add_task(names, total=1.0)
        while not models.health().ready:
            progress.update(task, completed=models.health().load_fraction or 0.0)
            await asyncio.sleep(0.1)
    where = "localhost" if host in ("127.0.0.1", "0.0.0.0", "::", "::1") else host
    url = f"http://{where}:{port}"
    verb = "answers" if len(models.own_names) == 1 else "answer"
    click.echo(f"{names} {verb} at {url}", err=True)
    if watched:
        berth = Path(sys.argv[0]).name if shutil.which("berth") else sys.argv[0]
        click.echo(
            f"\nTalk to it from a second terminal:\n  {berth} chat {url}\n"
            f"Every route, with a form to try it: {url}/docs. Ctrl-C ends the server.\n",
            err=True,
        )
