"""The keys of berth.yaml and their types: what `berth serve` can do today, and no more.

A key that is not given is UNSET: its default is that of berth serve's option, written there alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from berth.protocol.config import Device, DeviceMap, Dtype, Verify
from berth.protocol.engines import EngineKind

_Count = Annotated[int, Meta(ge=1)]
_Seconds = Annotated[float, Meta(ge=0)]
_Above = Annotated[float, Meta(gt=0)]
_Name = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
_Bytes = (
    Annotated[int, Meta(ge=1)]
    | Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+)?\s*[KMGTkmgt]?([iI]?[bB])?\Z")]
)
# As --keep-alive takes it; below 0: for ever.
_Time = int | Annotated[str, Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?[smh]?\Z")]


class Key(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where an API key is to be read; the key itself does not belong in the file."""

    env: _Name | UnsetType = UNSET
    file: _Name | UnsetType = UNSET


class Model(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One model: where it is, and the engine that computes it."""

    source: _Name | UnsetType = UNSET
    weights: _Name | UnsetType = UNSET
    tokenizer: _Name | UnsetType = UNSET
    chat_template: _Name | UnsetType = UNSET
    engine: Literal["auto"] | EngineKind | UnsetType = UNSET
    dtype: Dtype | UnsetType = UNSET
    device: Device | UnsetType = UNSET
    device_map: DeviceMap | UnsetType = UNSET
    degree: Literal["auto"] | _Count | UnsetType = UNSET
    threads: _Count | UnsetType = UNSET
    max_model_len: Annotated[int, Meta(ge=2)] | UnsetType = UNSET
    max_num_seqs: _Count | UnsetType = UNSET
    max_batch_tokens: _Count | UnsetType = UNSET
    kv_cache_memory: _Bytes | UnsetType = UNSET
    memory_fraction: Annotated[float, Meta(ge=0.05, le=1)] | UnsetType = UNSET
    prefix_caching: bool | UnsetType = UNSET
    load_in_8bit: bool | UnsetType = UNSET
    load_in_4bit: bool | UnsetType = UNSET
    trust_remote_code: bool | UnsetType = UNSET
    verify: Verify | UnsetType = UNSET
    hang_timeout: _Above | UnsetType = UNSET
    restart_pause: _Seconds | UnsetType = UNSET
    pin: bool | UnsetType = UNSET


class Limits(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How much the server takes, and for how long."""

    max_waiting: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    request_timeout: _Above | UnsetType = UNSET
    grace: _Seconds | UnsetType = UNSET
    max_loaded: _Count | UnsetType = UNSET
    keep_alive: _Time | UnsetType = UNSET


class Listener(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An address and a port that the server listens on."""

    host: _Name | UnsetType = UNSET
    port: Annotated[int, Meta(ge=0, le=65535)] | UnsetType = UNSET


class Http(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Who may call, from where."""

    allow_shutdown: bool | UnsetType = UNSET
    cors_origins: list[_Name] | UnsetType = UNSET
    allowed_hosts: list[_Name] | UnsetType = UNSET
    forwarded_allow: list[_Name] | UnsetType = UNSET


class Log(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The server's log."""

    level: Literal["debug", "info", "warning"] | UnsetType = UNSET
    format: Literal["text", "json"] | UnsetType = UNSET


class Store(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The database of keys."""

    state_dir: _Name | UnsetType = UNSET
    database: _Name | UnsetType = UNSET


class Tree(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The whole of berth.yaml."""

    models: dict[_Name, Model] | UnsetType = UNSET
    aliases: dict[_Name, _Name] | UnsetType = UNSET
    limits: Limits | UnsetType = UNSET
    listeners: list[Listener] | UnsetType = UNSET
    keys: list[Key] | UnsetType = UNSET
    http: Http | UnsetType = UNSET
    log: Log | UnsetType = UNSET
    store: Store | UnsetType = UNSET


# Keys that are planned. Until they do something they are refused, and by their name.
NOT_YET: dict[type, dict[str, str]] = {
    Tree: {
        "profiles": "Send sampling parameters and the system prompt with each request.",
        "personalities": "Send the system prompt with each request.",
        "sessions": "Send the whole conversation with each request.",
        "compat": "The dialects have no switches.",
        "tls": "Let a proxy in front of the server end TLS.",
    },
    Model: {
        "profile": "Send sampling parameters with each request.",
        "keep_alive": "Every model stays loaded for the time of limits.keep_alive.",
    },
    Listener: {
        "dialects": "Every dialect answers on the one port.",
        "tls": "Let a proxy in front of the server end TLS.",
    },
    Key: {
        "value": "A secret does not belong in this file: name a variable with env or a file "
        "with file.",
    },
}

# Keys whose value is a path, taken from the configuration file's folder where it is relative.
PATHS = {
    (Model, "weights"),
    (Model, "tokenizer"),
    (Key, "file"),
    (Store, "state_dir"),
}
# Changed by SIGHUP without dropping a stream. A prefix stands for all keys under it.
RELOADED = ("aliases", "keys", "log.level", "limits.max_waiting")


def schema() -> dict[str, Any]:
    """The JSON schema of berth.yaml."""
    made = msgspec.json.schema(Tree)
    whole = made["$defs"]["Tree"]["properties"]
    # Not its type, so that a second one is refused by its line.
    whole["listeners"]["maxItems"] = 1
    made["$defs"]["Key"]["oneOf"] = [{"required": ["env"]}, {"required": ["file"]}]
    # msgspec writes Python's end of text; ECMA 262, which JSON schema names, has only $.
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "berth.yaml",
        **_ecma(made),
    }


def _ecma(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ecma(one) for key, one in value.items() if key != "title" or one != "Tree"}
    if isinstance(value, list):
        return [_ecma(one) for one in value]
    return value.replace(r"\Z", "$") if isinstance(value, str) else value
