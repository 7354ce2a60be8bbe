"""The server's options in a ConfigMap (inference.config), as arguments and as questions to fit.

The file is `inference_config.yaml`, as KAITO calls it, or `berth.yaml`: a map `berth:` or `vllm:`
of options of `berth serve` without their dashes. vLLM's names are understood if Berth has the
same option. A key that is not known is refused, never left out.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from berth.fit.request import DTYPES
from berth.protocol.engines import ENGINES, QUANTISING

FILES = ("berth.yaml", "inference_config.yaml")
_SECTIONS = ("berth", "vllm")
_LONGEST = 64 * 1024  # characters of a file

Kind = Literal["whole", "number", "text", "flag", "texts"]

# Options of `berth serve` that a Workspace may set; a test holds them against the command.
OPTIONS: Mapping[str, Kind] = {
    "name": "text",
    "alias": "texts",
    "max-waiting": "whole",
    "request-timeout": "number",
    "allow-shutdown": "flag",
    "cors-origin": "texts",
    "allowed-host": "texts",
    "forwarded-allow": "texts",
    "log-format": "text",
    "log-level": "text",
    "dtype": "text",
    "max-model-len": "whole",
    "max-num-seqs": "whole",
    "max-batch-tokens": "whole",
    "kv-cache-memory": "text",
    "memory-fraction": "number",
    "no-prefix-caching": "flag",
    "threads": "whole",
    "verify": "text",
    "chat-template": "text",
    "engine": "text",
    "trust-remote-code": "flag",
    "load-in-8bit": "flag",
    "load-in-4bit": "flag",
    "device-map": "text",
    "degree": "whole",
    "hang-timeout": "number",
    "restart-pause": "number",
}
# Those that follow from where the pod is.
OURS = frozenset(
    {
        "config",  # a pod's file is this one
        "host",
        "max-loaded",  # a pod serves one model, from start to end
        "keep-alive",
        "models-dir",
        "pin",
        "port",
        "grace",
        "device",
        "tokenizer",
        "weights",
        "nnodes",
        "node-rank",
        "rdzv-endpoint",
        "state-dir",  # a pod has no folder that outlives it
        "database",  # its URL may hold a password, which is for a Secret
    }
)
SYNONYMS: Mapping[str, str] = {
    "tensor-parallel-size": "degree",
    "model-parallel-size": "degree",
    "gpu-memory-utilization": "memory-fraction",
    "served-model-name": "name",
    "max-seq-len": "max-model-len",
    "max-batch-size": "max-num-seqs",
    "max-num-batched-tokens": "max-batch-tokens",
}
_ENGINES = ("auto", *ENGINES)
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "dtype": ("auto", *DTYPES),
    "engine": _ENGINES,
    "log-format": ("text", "json"),
    "log-level": ("debug", "info", "warning"),
}


# vLLM's and torch's names of the number formats.
_FORMATS = {
    "half": "float16",
    "fp16": "float16",
    "bf16": "bfloat16",
    "float": "float32",
    "fp32": "float32",
}
# Options whose text "auto" (or -1) asks for what is done without them.
_AUTOMATIC = frozenset({"max-model-len", "max-num-seqs", "max-batch-tokens", "memory-fraction"})
# vLLM's switches that say the opposite of ours.
_OPPOSITES = {"enable-prefix-caching": "no-prefix-caching"}


class OptionError(ValueError):
    """A ConfigMap that cannot be used; the message names the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the owner of the Workspace decided about the server."""

    args: tuple[str, ...] = ()  # of `berth serve`, the degree left out: it follows from the nodes
    context: int | None = None  # tokens
    dtype: str = "auto"
    memory_fraction: float | None = None
    degree: int | None = None
    engine: str = "auto"
    quantize: str | None = None


def read_options(data: Mapping[str, str]) -> Options:
    """The options in a ConfigMap's data. Raises OptionError."""
    present = [name for name in FILES if name in data]
    if not present:
        raise OptionError(f"the ConfigMap should have the key {' or '.join(FILES)}")
    if len(present) > 1:
        raise OptionError(f"the ConfigMap has both {' and '.join(present)}; keep one of them")
    return _options(_flat(present[0], data[present[0]]))


def _flat(file: str, content: str) -> dict[str, Any]:
    """The file's options by their names here."""
    if len(content) > _LONGEST:
        raise OptionError(f"{file} has {len(content)} characters; {_LONGEST} is the most")
    try:
        read = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where is not None else ""
        raise OptionError(f"{file} is no YAML{line}") from None
    if read is None:
        return {}
    if not isinstance(read, dict):
        raise OptionError(f"{file} should be a map of options")
    found: dict[str, Any] = {}
    for key, value in read.items():
        if key in _SECTIONS:
            if value is not None and not isinstance(value, dict):
                raise OptionError(f"{file}: {key} should be a map of options")
            for name, inner in (value or {}).items():
                _add(found, file, name, inner)
        else:
            _add(found, file, key, value)
    return found


def _add(found: dict[str, Any], file: str, key: object, value: object) -> None:
    written = str(key)
    name = written.replace("_", "-").lstrip("-")
    name = SYNONYMS.get(name, name)
    value = _meant(value)
    opposite = _OPPOSITES.get(name.removeprefix("no-"))
    if opposite is not None:
        if not isinstance(value, bool):
            raise OptionError(f"{file}: {written} should be true or false")
        name, value = opposite, value if name.startswith("no-") else not value
    if name in _AUTOMATIC and value in ("auto", -1):
        return
    if name == "dtype" and isinstance(value, str):
        value = _FORMATS.get(value.lower(), value)
    if name in OURS:
        raise OptionError(f"{file}: {written} is decided by Berth; leave it out")
    if name not in OPTIONS:
        near = difflib.get_close_matches(name, [*OPTIONS, *SYNONYMS], n=2)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise OptionError(f"{file}: {written[:80]} is no option of the server{hint}")
    if name in found:
        raise OptionError(f"{file}: {written} is given twice (also under another name)")
    found[name] = _checked(file, written, name, value)


def _meant(value: object) -> object:
    """A number or a truth that stands in quotes, as charts and KAITO's own examples write them."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else value
    return value


def _checked(file: str, written: str, name: str, value: object) -> Any:
    where = f"{file}: {written}"
    kind = OPTIONS[name]
    if kind == "flag":
        if not isinstance(value, bool):
            raise OptionError(f"{where} should be true or false")
        return value
    if kind == "whole":
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
            raise OptionError(f"{where} should be a whole number of at least 1")
        return value
    if kind == "number":
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
            raise OptionError(f"{where} should be a number above 0")
        if name == "memory-fraction" and not 0.05 <= value <= 1:
            raise OptionError(f"{where} should be between 0.05 and 1")
        return value
    if kind == "texts":
        given = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) and one for one in given):
            raise OptionError(f"{where} should be a text, or a list of texts")
        return given
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)  # a name, or a number of bytes, that looks like a number
    if not isinstance(value, str) or not value:
        raise OptionError(f"{where} should be a text")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise OptionError(f"{where} should be one of {', '.join(_CHOICES[name])}, not {value!r}")
    return value


def _options(found: dict[str, Any]) -> Options:
    if found.get("load-in-8bit") and found.get("load-in-4bit"):
        raise OptionError("load-in-8bit and load-in-4bit exclude each other")
    quantize = None
    if found.get("load-in-8bit"):
        quantize = "int8"
    elif found.get("load-in-4bit"):
        quantize = "nf4"
    return Options(
        args=tuple(_arguments(found)),
        context=found.get("max-model-len"),
        dtype=found.get("dtype", "auto"),
        memory_fraction=found.get("memory-fraction"),
        degree=found.get("degree"),
        engine=QUANTISING if quantize else found.get("engine", "auto"),
        quantize=quantize,
    )


def _arguments(found: dict[str, Any]) -> list[str]:
    args: list[str] = []
    for name, value in sorted(found.items()):
        if name == "degree" or value is False:
            continue
        if value is True:
            args.append(f"--{name}")
            continue
        args += [f"--{name}={one}" for one in (value if isinstance(value, list) else [value])]
    return args
