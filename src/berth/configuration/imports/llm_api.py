"""llm-api's config.yaml, with its LLM_API_* variables over it."""

from __future__ import annotations

import json
from collections.abc import Mapping as Environment
from typing import Any

import yaml

from berth.configuration.errors import ConfigurationError
from berth.configuration.imports.imported import LLAMA_CPP, OFFLOAD, Imported
from berth.configuration.nodes import parse

_PREFIX = "LLM_API_"
_KNOWN = (
    "models_dir", "model_family", "model_name", "setup_params", "model_params",
    "host", "port", "log_level",
)  # fmt: skip
_SECTIONS = ("setup_params", "model_params")
_SETUP = {
    "filename": "Berth takes the safetensors of the repository; if it has none, name another one",
    "convert": "repairs files of 2023 that no engine of Berth's reads",
    "migrate": "repairs files of 2023 that no engine of Berth's reads",
    "tokenizer_repo_id": "a tokenizer is a file here: download it, and name it by tokenizer",
    "config_params": "the model's own config.json is taken",
}
_MODEL = {
    **dict.fromkeys(
        ("n_parts", "last_n_tokens_size", "use_mmap", "rope_freq_base", "rope_freq_scale",
         "verbose", "low_vram", "use_mlock", "embedding", "f16_kv", "tensor_split"),
        LLAMA_CPP,
    ),
    "seed": "send it with each request",
    "n_batch": "counts otherwise than max_batch_tokens; llm-api ignored it too",
    "batch_size": "counts otherwise than max_batch_tokens",
    "n_gpu_layers": OFFLOAD,
    "lora_base": "adapters are not served",
    "lora_path": "adapters are not served",
    "group_size": "is in the files of the model",
    "wbits": "is in the files of the model",
    "cuda_visible_devices": "set CUDA_VISIBLE_DEVICES",
    "fuse_layers": "is the engine's own matter",
    "safetensors": "safetensors are what Berth reads",
}  # fmt: skip


def convert(text: str, name: str, environment: Environment[str, str]) -> Imported:
    """Raises ConfigurationError if it is no configuration of llm-api."""
    parse(text, name)  # duplicates, tags and bombs are refused
    try:
        given = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:  # a date that is none, a number without an end
        raise ConfigurationError([f"{name}: not YAML: {str(error)[:80]}"]) from None
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise ConfigurationError([f"{name}: should have keys, as model_family"])
    for variable, value in environment.items():
        if variable.upper().startswith(_PREFIX):
            _lay(given, variable, value)
    for section in _SECTIONS:
        if not isinstance(given.get(section) or {}, dict):
            raise ConfigurationError([f"{name}: {section}: should have keys under it"])
    made = Imported()
    setup, params = dict(given.get("setup_params") or {}), dict(given.get("model_params") or {})
    family, short = given.get("model_family"), given.get("model_name")
    source = setup.pop("repo_id", None)
    if not isinstance(source, str):
        raise ConfigurationError([f"{name}: setup_params.repo_id: says no model"])
    model: dict[str, Any] = {"source": source}
    _model(made, model, setup, params)
    named = f"{family}-{short}" if family and short else source.rpartition("/")[2]
    made.models[named] = model
    for key, reason in (
        ("models_dir", "Berth downloads to its own store; berth pull has the option"),
        ("model_family", "the engine is chosen by the model's files"),
    ):
        if key in given:
            made.leave(key, reason)
    made.listener["host"] = str(given.get("host") or "0.0.0.0")
    port = made.whole("port", given.get("port", 8000), 0, 65535)
    made.listener["port"] = 8000 if port is None else port
    level = given.get("log_level")
    if level in ("debug", "info", "warning"):
        made.log["level"] = level
    elif level is not None:
        made.leave("log_level", "a level is debug, info or warning here")
    made.leave_all({str(key): 0 for key in given if key not in _KNOWN}, "", {})
    return made


def _lay(given: dict[str, Any], variable: str, value: str) -> None:
    """One variable over the file, deep where both are mappings. Raises ConfigurationError."""
    key = variable.upper().removeprefix(_PREFIX).lower()
    if key not in _SECTIONS:
        given[key] = int(value) if key == "port" and value.isascii() and value.isdigit() else value
        return
    try:
        said = json.loads(value)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise ConfigurationError([f"{variable}: should be a JSON object"])
    before = given.get(key)
    given[key] = {**(before if isinstance(before, dict) else {}), **said}


def _model(
    made: Imported, model: dict[str, Any], setup: dict[str, Any], params: dict[str, Any]
) -> None:
    """What is known of one model's parameters; the rest is left."""
    if setup.pop("trust_remote_code", params.pop("trust_remote_code", False)) is True:
        model["trust_remote_code"] = True
    for words, key, least in (
        (("n_ctx", "ctx_size"), "max_model_len", 2),
        (("num_threads", "n_threads"), "threads", 1),
    ):
        for word in words:
            if word in params:
                value = made.whole(f"model_params.{word}", params.pop(word), least)
                if value is not None:
                    model.setdefault(key, value)
    dtype = str(params.get("torch_dtype", "")).removeprefix("torch.")
    if dtype in ("float32", "bfloat16", "float16", "auto"):
        model["dtype"] = dtype
        del params["torch_dtype"]
    spread = params.get("device_map")
    if spread in ("auto", "balanced", "balanced_low_0", "sequential"):
        model["device_map"] = params.pop("device_map")
    device = str(params.get("device", "")).partition(":")[0]
    if device in ("cpu", "cuda"):
        model["device"] = device
        del params["device"]
    for bits in ("load_in_8bit", "load_in_4bit"):
        if params.get(bits) is True:
            model[bits] = params.pop(bits)
    made.leave_all({str(key): 0 for key in setup}, "setup_params.", _SETUP)
    made.leave_all({str(key): 0 for key in params}, "model_params.", _MODEL)
