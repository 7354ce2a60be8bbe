"""The Node LLM-API's config.js, models.json and authKeys.json."""

from __future__ import annotations

from typing import Any

from berth.configuration.errors import ConfigurationError
from berth.configuration.imports.imported import (
    KEYS,
    LLAMA_CPP,
    OFFLOAD,
    PROMPT,
    SAMPLING,
    Imported,
)
from berth.configuration.imports.javascript import read_object
from berth.configuration.imports.json_file import load_object

_TLS = "Berth ends no TLS yet: a proxy in front of it does"
_CONFIG = {
    "llamaMain": "Berth has engines of its own",
    **dict.fromkeys(
        ("useSSL", "privateKeyPath", "certificatePath", "caChainPath", "passphrase"), _TLS
    ),
}
_PARAMS = {
    **dict.fromkeys(
        ("temperature", "repeatPenalty", "nPredict", "topK", "topP", "ignoreEOS", "logitBias",
         "seed", "grammar", "reversePrompt"),
        SAMPLING,
    ),
    **dict.fromkeys(
        ("interactive", "instruct", "interactiveFirst", "promptFile", "threadsBatch",
         "promptCache", "keepPrompt", "grammarFile", "inPrefix", "inSuffix", "randomPrompt",
         "mlock", "noMmap", "numa", "batchSize"),
        LLAMA_CPP,
    ),
    "gpuLayers": OFFLOAD,
}  # fmt: skip


def convert(config: str, models: str, keys: str | None) -> Imported:
    """`keys`: the text of authKeys.json, None where there is none. Raises ConfigurationError."""
    said = read_object(config, "config.js")
    made = Imported()
    made.listener["host"] = str(said.pop("host", None) or "0.0.0.0")
    port = made.whole("config.js: port", said.pop("port", 80), 0, 65535)
    made.listener["port"] = 80 if port is None else port
    storage = str(said.pop("llmStorage", None) or "").replace("\\", "/").rstrip("/")
    made.leave_all(said, "config.js: ", _CONFIG)
    for name, entry in load_object(models, "models.json").items():
        _model(made, name, entry, storage)
    if not made.models:
        raise ConfigurationError(["models.json: has no model"])
    if keys is not None:
        for at, record in enumerate(load_object(keys, "authKeys.json").values(), start=1):
            named = record.get("name") if isinstance(record, dict) else None
            made.leave(f"authKeys.json: {str(named or f'key {at}')[:60]}", KEYS)  # never the key
    return made


def _model(made: Imported, name: str, entry: Any, storage: str) -> None:
    params = entry.get("params") if isinstance(entry, dict) else None
    if not isinstance(params, dict) or not isinstance(params.get("model"), str):
        made.leave(f"models.json: {name}", "has no params.model")
        return
    params = dict(params)
    file = params.pop("model").replace("\\", "/")
    where = f"models.json: {name}."
    made.models[name] = made.model(
        f"{storage}/{file}" if storage else file,
        f"{where}params.model",
        params,
        f"{where}params.",
        (("ctxSize", "max_model_len", 2), ("threads", "threads", 1)),
    )
    made.leave_all(params, f"{where}params.", _PARAMS)
    rest = {key: value for key, value in entry.items() if key != "params"}
    personalities = rest.pop("personalities", None)
    for one in personalities if isinstance(personalities, dict) else ():
        made.leave(f"{where}personalities.{one}", PROMPT)
    reasons = {"template": "the model's own chat template is taken; chat_template names another"}
    made.leave_all(rest, where, reasons)
