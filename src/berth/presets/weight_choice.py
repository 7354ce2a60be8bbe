"""Which files of a repository hold the model's weights: one set of them, and no second. Pure.

A repository may hold the same model several times: whole and in parts, in a second number format
(model.fp16.safetensors), in Mistral's layout (consolidated.safetensors) or Meta's, as pickles, as
GGUF; and beside it what is no model: an adapter, an optimiser's state, a draft model. The order is
that in which transformers 5.23 looks (modeling_utils.py, _get_resolved_checkpoint_files), then
Mistral's, Meta's and llama.cpp's files.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from berth.checkpoint.index import INDEX, SINGLE
from berth.presets.source import PullError

Read = Callable[[str], bytes]  # the content of a small file, by its path

_LISTED = 12  # names in a sentence
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_NUMBERED = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<total>\d{5})(?P<ending>\.gguf|\.safetensors)")
_VARIANT = re.compile(r"model\.(?P<variant>[\w-]+?)(-\d+-of-\d+)?\.safetensors")
_VARIANT_INDEXES = (
    re.compile(r"model\.safetensors\.index\.(?P<variant>[\w-]+)\.json"),
    re.compile(r"model\.(?P<variant>[\w-]+)\.safetensors\.index\.json"),
)
_CONSOLIDATED_INDEX = "consolidated.safetensors.index.json"
_META = re.compile(r"consolidated\.\d+\.pth")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# What a trainer leaves beside a model; it is no part of the model.
_STATE = re.compile(r"(training_args|optimizer|scheduler|rng_state|random_states|scaler).*")
_ADAPTER = "adapter_config.json"
# A vision tower, or the statistics a quantisation was made with: no model of its own.
_BESIDE_GGUF = re.compile(r"(.*[-_.])?(mmproj|imatrix)([-_.].*)?\.gguf", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Weights:
    """One set of weights."""

    paths: tuple[str, ...]  # sorted
    index: str | None = None  # the file that says which tensor is in which of them
    notes: tuple[str, ...] = ()  # what a person should know of what was left out


def is_pickle(path: str) -> bool:
    """Whether reading the file may run code that it carries."""
    return path.lower().endswith(_PICKLES)


def is_weights(path: str) -> bool:
    """Whether a file's name is one that a model's tensors are stored under."""
    return path.endswith((".safetensors", ".gguf")) or _META.fullmatch(path) is not None


def choose_weights(
    paths: Sequence[str], read: Read | None = None, variant: str | None = None
) -> Weights:
    """The set of weights to take of a repository.

    Args:
        paths: all of its files.
        read: gives an index or an adapter's description. None: the names alone decide, and numbered
            parts of the main set stand for the files that the index names.
        variant: take this one of the second number formats.

    Raises:
        PullError: there is no set that may be used, or none is the obvious one.
    """
    top = sorted(path for path in paths if "/" not in path)
    if variant is not None:
        return _variant(top, paths, read, variant)
    found = _main(top, paths, read) or _gguf(top)
    if found is None:
        raise PullError(_nothing(top, paths, read))
    if _ADAPTER in top and not found.paths[0].endswith(".gguf"):
        note = f"the adapter beside the model ({_ADAPTER}) was left out: the model is as without it"
        return Weights(found.paths, found.index, (note,))
    return found


def named_weights(paths: Sequence[str], only: str) -> Weights:
    """The set of weights that a person named by one file, or by a quantisation of GGUF files.

    Raises:
        PullError: there is no such file, or it may not be used.
    """
    if is_pickle(only) and not _META.fullmatch(only):
        raise PullError(f"{only} is a pickle, which can run code; use safetensors or GGUF")
    if only not in paths:
        tagged = _quantised(paths, only)
        if not tagged:
            raise PullError(f"there is no file {only}; there are {_list(paths)}")
        only = tagged
    if (part := _NUMBERED.fullmatch(only)) is None:
        return Weights((only,))
    return Weights(
        tuple(
            sorted(
                path
                for path in paths
                if (m := _NUMBERED.fullmatch(path)) and m["stem"] == part["stem"]
            )
        )
    )


def _main(top: Sequence[str], paths: Sequence[str], read: Read | None) -> Weights | None:
    """Safetensors and Meta's files."""
    if SINGLE in top:
        return Weights((SINGLE,))
    parts = tuple(path for path in top if SHARD.fullmatch(path))
    if INDEX in top and (read is not None or parts):
        return Weights(parts, INDEX) if read is None else _indexed(INDEX, paths, read)
    if parts:
        return Weights(parts)
    own = [
        path
        for path in top
        if path.endswith(".safetensors") and not path.startswith(("consolidated", "adapter_"))
    ]
    if variants := sorted({m["variant"] for path in own if (m := _VARIANT.fullmatch(path))}):
        if len(variants) > 1:
            raise PullError(
                f"it holds the model in several variants and in none without a name; name one with "
                f"--variant: {', '.join(variants)}"
            )
        return _variant(top, paths, read, variants[0])
    if own:
        return _other_names(top, own, paths, read)
    return _consolidated(top, paths, read)


def _other_names(
    top: Sequence[str], own: Sequence[str], paths: Sequence[str], read: Read | None
) -> Weights:
    """Of an index that has another name than transformers gives it; else all that there are."""
    indexes = [path for path in top if _is_index(path) and path != _CONSOLIDATED_INDEX]
    if len(indexes) != 1:
        return Weights(tuple(own))
    return Weights(tuple(own), indexes[0]) if read is None else _indexed(indexes[0], paths, read)


def _is_index(path: str) -> bool:
    return path.endswith(".safetensors.index.json") and not path.startswith("adapter_")


def _consolidated(top: Sequence[str], paths: Sequence[str], read: Read | None) -> Weights | None:
    """Mistral's layout, or Meta's if its description is there."""
    if _CONSOLIDATED_INDEX in top and read is not None:
        return _indexed(_CONSOLIDATED_INDEX, paths, read)
    whole = [path for path in top if path == "consolidated.safetensors"]
    parts = [p for p in top if p.startswith("consolidated") and p.endswith(".safetensors")]
    pickles = [path for path in top if _META.fullmatch(path) and "params.json" in top]
    found = whole or parts or pickles
    index = _CONSOLIDATED_INDEX if found == parts and _CONSOLIDATED_INDEX in top else None
    return Weights(tuple(found), index) if found else None


def _variant(top: Sequence[str], paths: Sequence[str], read: Read | None, variant: str) -> Weights:
    for index in top:
        for pattern in _VARIANT_INDEXES:
            match = pattern.fullmatch(index)
            if match is not None and match["variant"] == variant and read is not None:
                return _indexed(index, paths, read)
    matches = [match for path in top if (match := _VARIANT.fullmatch(path))]
    found = tuple(match[0] for match in matches if match["variant"] == variant)
    whole = tuple(path for path in found if path == f"model.{variant}.safetensors")
    if not found:
        there = sorted({match["variant"] for match in matches})
        raise PullError(
            f"there is no variant {variant} (model.{variant}.safetensors); "
            f"there {'are ' + ', '.join(there) if there else 'is none'}"
        )
    return Weights(whole or found)


def _indexed(index: str, paths: Sequence[str], read: Read) -> Weights:
    """The files that an index names."""
    try:
        where = json.loads(read(index))["weight_map"]
        names = {posixpath.normpath(name) for name in where.values()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise PullError(f"its {index} is no index of weights: {error}") from error
    for name in sorted(names):
        if posixpath.isabs(name) or name.split("/")[0] == "..":
            raise PullError(f"its {index} names {name}, which is outside of the repository")
        if not name.endswith(".safetensors"):
            raise PullError(f"its {index} names {name}, which is no safetensors file")
    if missing := sorted(names - set(paths)):
        raise PullError(f"it lacks {_list(missing)}, which its {index} names")
    if not names:
        raise PullError(f"its {index} names no file")
    return Weights(tuple(sorted(names)), index)


def _gguf(top: Sequence[str]) -> Weights | None:
    found = [p for p in top if p.endswith(".gguf") and not _BESIDE_GGUF.fullmatch(p)]
    if len({_stem(path) for path in found}) > 1:
        raise PullError(f"there are several GGUF files; name one after a colon: {_list(found)}")
    return Weights(tuple(found)) if found else None


def _quantised(paths: Sequence[str], tag: str) -> str | None:
    """The one GGUF file, or the first part of it, whose quantisation `tag` is ("Q4_K_M")."""
    ends = re.compile(rf"(.*[-_./])?{re.escape(tag)}", re.IGNORECASE)
    found = {
        _stem(path): path
        for path in sorted(paths, reverse=True)
        if path.endswith(".gguf") and not _BESIDE_GGUF.fullmatch(posixpath.basename(path))
        if ends.fullmatch(_stem(path).removesuffix(".gguf"))
    }
    if len(found) > 1:
        raise PullError(f"several GGUF files are {tag}; name one: {_list(sorted(found.values()))}")
    return next(iter(found.values()), None)


def _stem(path: str) -> str:
    match = _NUMBERED.fullmatch(path)
    return match["stem"] if match else path


def _nothing(top: Sequence[str], paths: Sequence[str], read: Read | None) -> str:
    """Why there are no weights to take, and the way out."""
    adapter = _adapter(top, read)
    own = [p for p in top if is_pickle(p) and not _STATE.fullmatch(p) and p[:8] != "adapter_"]
    if own:
        first = next((path for path in own if path.startswith("pytorch_model")), own[0])
        beside = f"; beside it is {adapter}" if adapter else ""
        return (
            f"its weights are only there as {first}, a pickle, which can run code; "
            f"look for a conversion to safetensors{beside}"
        )
    if adapter is not None:
        return (
            f"it is {adapter}, and no model itself: adapters are not applied by Berth. Pull the "
            "base, or merge the adapter into it with peft (AutoPeftModelForCausalLM"
            ".from_pretrained(…).merge_and_unload().save_pretrained(FOLDER)) and name that folder"
        )
    if not paths:
        return "it is empty"
    if folders := _folders_with_weights(paths):
        return (
            "its weights are in folders of it; name one after a colon, as in "
            f"HUB_ID:{folders[0]}: {_list(folders)}"
        )
    return f"it holds no weights that we read (*.safetensors, *.gguf), only {_list(paths)}"


def _adapter(top: Sequence[str], read: Read | None) -> str | None:
    """ "an adapter (LORA) of BASE"; None if there is none."""
    if _ADAPTER not in top and not any(path.startswith("adapter_model.") for path in top):
        return None
    said: object = None
    if _ADAPTER in top and read is not None:
        try:
            said = json.loads(read(_ADAPTER))
        except (ValueError, RecursionError):
            said = None  # the base stays unknown; that it is an adapter its name says
    described = said if isinstance(said, dict) else {}
    base, kind = described.get("base_model_name_or_path"), described.get("peft_type")
    kind = kind if isinstance(kind, str) and kind else "LoRA"
    kind = "LoRA" if kind == "LORA" else kind
    return f"an adapter ({kind}) of {base if isinstance(base, str) and base else 'another model'}"


def _folders_with_weights(paths: Sequence[str]) -> list[str]:
    """What may be named after the colon: folders with safetensors or Meta's files, GGUF files."""
    found: set[str] = set()
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder and is_weights(name) and not name.startswith("adapter_"):
            found.add(path if name.endswith(".gguf") else folder)
    return sorted(found)


def _list(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _LISTED} more" if len(paths) > _LISTED else ""
    return ", ".join(paths[:_LISTED]) + more
