"""What `berth serve` makes of several models: what each takes, and what they share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import msgspec

from berth.checkpoint.folder import describe
from berth.cli.degree import visible_gpus
from berth.fit.budget import engine_room
from berth.fit.share import Share, share_of
from berth.fit.units import human
from berth.limits.memory import memory
from berth.server.metrics import Metrics
from berth.serving.model_service import ModelService
from berth.serving.models import Model
from berth.serving.on_demand import OnDemandModels
from berth.serving.open_model import ServingConfig
from berth.serving.turns import Candidate, Limits, NeverFits, Turns

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_FOR_EVER = -1.0
_KEEP_ALIVE = 300.0  # seconds; Ollama's default


class KeepAlive(click.ParamType):  # type: ignore[type-arg]  # not generic when it runs
    """Seconds, or a time as Ollama writes it: 300, 90s, 5m, 1h; -1: for ever."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        text = str(value).strip()
        if re.fullmatch(r"-\d+(\.\d+)?[smh]?", text):
            return _FOR_EVER
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
        if match is None:
            self.fail(
                f"{value!r} should be a time, as 300, 90s, 5m or 1h; -1: for ever", param, ctx
            )
        return float(match[1]) * _UNITS[match[2]]


SEVERAL_OPTIONS = [
    click.option(
        "--models-dir",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Serve every model whose folder is in this one, under the folder's name.",
    ),
    click.option(
        "--max-loaded",
        type=click.IntRange(min=1),
        help="Models in memory at once.  [default: as many as fit; on a GPU 1]",
    ),
    click.option(
        "--keep-alive",
        type=KeepAlive(),
        help="How long a model without requests stays, as 90s or 1h; -1: for ever.  [default: "
        "5m; a single model stays, unless this is given]",
    ),
    click.option(
        "--pin",
        multiple=True,
        help="Load this model at the start and keep it, by its name; repeatable.",
    ),
]
# Options that say something of one model.
_OF_ONE = {"model_id": "--name", "tokenizer": "--tokenizer", "chat_template": "--chat-template"}


@dataclass(frozen=True, slots=True)
class Several:
    """Models, and what they share."""

    servings: Sequence[ServingConfig]
    candidates: Sequence[Candidate]
    limits: Limits

    def models(
        self, metrics: Metrics, aliases: Sequence[str] | Mapping[str, str]
    ) -> OnDemandModels:
        """Their services. No engine is started."""
        return OnDemandModels(
            [Model(ModelService(each, metrics.of(each.model_id))) for each in self.servings],
            self.candidates,
            self.limits,
            aliases,
        )


def are_several(models: Sequence[str], options: dict[str, Any]) -> bool:
    """Whether models are loaded when they are asked for, and not one from start to end.

    Raises: ValueError for options that are for one model, or for several.
    """
    single = len(models) <= 1 and options["models_dir"] is None
    if single and options["keep_alive"] is None:
        for option in ("max_loaded", "pin"):
            if options[option]:
                name = option.replace("_", "-")
                raise ValueError(f"--{name} is for several models, or for one with --keep-alive")
        return False
    if not single:
        for option, name in _OF_ONE.items():
            if options[option] is not None:
                raise ValueError(f"{name} is of one model, and several are given")
    if options["nnodes"] > 1:
        raise ValueError("several nodes serve one model, from start to end: leave out --nnodes")
    return True


def folders_in(models_dir: Path | None) -> list[str]:
    """The folders that may be models, by name; those that begin with a dot are other programs'."""
    if models_dir is None:
        return []
    found = (path for path in models_dir.iterdir() if path.is_dir())
    return sorted(str(path) for path in found if not path.name.startswith("."))


def share_machine(servings: Sequence[ServingConfig], options: dict[str, Any]) -> Several:
    """What each model takes of this machine. Raises ValueError if one can never be loaded."""
    names = [serving.model_id for serving in servings]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two models are called {name}; a client could not tell them apart")
    for name in options["pin"]:
        if name not in names:
            raise ValueError(f"--pin {name}: the models are {', '.join(names)}")
    keep_alive = _KEEP_ALIVE if options["keep_alive"] is None else options["keep_alive"]
    on_gpu = any(each.engine.device != "cpu" for each in servings) and visible_gpus() > 0
    shares: list[Share | None] = [None] * len(servings)
    room = None
    max_loaded = options["max_loaded"]
    if on_gpu:
        max_loaded = _of_gpu(max_loaded, servings)
    else:
        ram = memory()
        room = engine_room(
            "native", "cpu", total=ram.total, free=ram.free, fraction=options["memory_fraction"]
        )
        shares = [_share(each, ram.total, room) for each in servings]
    candidates = [
        Candidate(
            name=name,
            # One whose sizes are not known takes all that there is: nothing is loaded beside it.
            bytes=0 if room is None else room if share is None else share.bytes,
            pinned=name in options["pin"],
        )
        for name, share in zip(names, shares, strict=True)
    ]
    limits = Limits(
        memory=room,
        max_loaded=max_loaded,
        max_waiting=options["max_waiting"],
        keep_alive=None if keep_alive == _FOR_EVER else keep_alive,
    )
    try:
        Turns(candidates, limits)
    except NeverFits as error:
        raise ValueError(_refusal(error, shares[names.index(error.name)])) from error
    bounded = [_bounded(each, share) for each, share in zip(servings, shares, strict=True)]
    return Several(bounded, candidates, limits)


def _of_gpu(max_loaded: int | None, servings: Sequence[ServingConfig]) -> int:
    """Models at once on GPUs, whose memory only an engine sees: one, unless each has its part."""
    divided = all(
        each.engine.kv_cache_bytes is not None or each.engine.memory_fraction is not None
        for each in servings
    )
    if max_loaded is not None and max_loaded > 1 and not divided:
        raise ValueError(
            f"--max-loaded {max_loaded} on a GPU: the first model would take all of it; say by "
            "--kv-cache-memory how much each may take for its cache"
        )
    return max_loaded or 1


def _share(serving: ServingConfig, total: int, room: int) -> Share | None:
    """None if the sizes of the model are not known."""
    engine = serving.engine
    description = describe(Path(engine.model))
    if description.numbers is None:
        return None
    return share_of(
        description.numbers,
        engine=engine.engine,
        total=total,
        room=room,
        degree=engine.degree,
        dtype=engine.dtype,
        max_model_len=engine.max_model_len,
        max_num_seqs=engine.max_num_seqs,
        max_batch_tokens=engine.max_batch_tokens,
        kv_cache_bytes=engine.kv_cache_bytes,
        stored_bytes=description.stored_bytes,
    )


def _bounded(serving: ServingConfig, share: Share | None) -> ServingConfig:
    """The model with a cache of the size that was counted."""
    if share is None:
        return serving
    engine = msgspec.structs.replace(serving.engine, kv_cache_bytes=share.kv_cache_bytes)
    return replace(serving, engine=engine)


def _refusal(error: NeverFits, share: Share | None) -> str:
    lines = [
        f"{error.name} does not fit: {human(error.bytes)} are needed, and {human(error.left)} may "
        "be used for it beside the pinned models; --max-model-len or --kv-cache-memory makes its "
        "cache smaller"
    ]
    return "\n  ".join(lines + (share.lines() if share is not None else []))
