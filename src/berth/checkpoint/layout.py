"""Which layout a model's folder has, or why no engine of Berth serves it, with a way out.

Asked by every command before anything else is read: the answer is the same sentence for all of
them. Read are the names, the first bytes of what is needed, and config.json; never a tensor.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from berth.checkpoint import purpose, quantised
from berth.checkpoint.errors import ConfigError
from berth.checkpoint.index import INDEX, own_weights, stored_files

Layout = Literal["hf", "meta"]

POINTER = b"version https://git-lfs"
_LISTED = 12  # names of a folder's content in an error
_DESCRIPTIONS = (
    "config.json", "generation_config.json", INDEX, "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
# What wrote down its method beside config.json, before transformers had a key for it there.
_PACKED_BY = {"quantize_config.json": "gptq", "quant_config.json": "awq"}
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_FOREIGN = {
    ".h5": "TensorFlow's format", ".msgpack": "Flax's format", ".onnx": "ONNX's format",
    ".npz": "numpy's format", ".ot": "the format of rust-bert", ".mlmodel": "Core ML's format",
    ".tflite": "TensorFlow Lite's format",
}  # fmt: skip


def folder_layout(folder: Path, *, served: bool = True) -> Layout:
    """Whether `folder` is Hugging Face's (config.json, *.safetensors) or Meta's (params.json,
    consolidated.NN.pth). If it is both, the one whose weights are there; if both are, Hugging
    Face's.

    Args:
        served: whether it must be a model that Berth's engines can serve; otherwise its files
            must only be readable.

    Raises:
        ConfigError: neither, or its files or its description say that no engine serves it.
    """
    names = _names(folder)
    layout = _by_weights(folder, names)
    if layout is None:
        _refuse_other_formats(folder, names)
        # A description without weights is enough for what needs no weights, such as a benchmark.
        consolidated = any(name.startswith("consolidated") for name in names)
        if "config.json" in names and not consolidated:
            layout = "hf"
        elif "params.json" in names:
            layout = "meta"
        else:
            raise ConfigError(_neither(folder, names))
    for name in _described(names, layout):
        _refuse_unreadable(folder / name)
    for name in stored_files(folder) if layout == "hf" else _consolidated(names):
        _refuse_unreadable(folder / name)
    if layout == "hf" and served:
        _refuse_unserved(folder, names)
    return layout


def _refuse_unserved(folder: Path, names: Sequence[str]) -> None:
    """Raises ConfigError for what is no model of text, or is packed in a way that is not read."""
    if _is_adapted(names):
        raise ConfigError(
            f"{folder_name(folder)} holds a model and an adapter for one (adapter_config.json), "
            "which "
            "would have to be applied to it; move the files adapter_* away to serve the model "
            "without it"
        )
    config = _object(folder / "config.json")
    if config is None:  # what is wrong with it, its reader says
        return
    if quantised.method_of(config) is None:
        for name, method in _PACKED_BY.items():
            if name in names:
                config = {**config, "quantization_config": {"quant_method": method}}
    sentence = purpose.complaint(config, _is_sentence_model(folder, names))
    sentence = sentence or quantised.complaint(config)
    if sentence is not None:
        raise ConfigError(f"{folder_name(folder)} {sentence}")


def path_kind(path: Path) -> Literal["folder", "file"] | None:
    """What a path that a command names leads to; None if to nothing.

    Raises:
        ConfigError: this user may not look.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a zero byte is in no path
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}{_RIGHTS}") from error
    return "folder" if stat.S_ISDIR(mode) else "file"


def folder_name(folder: Path) -> str:
    """A folder's own name, also if it was given as `.` or `..`, which have none to show."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name or str(folder)


def is_pointer(path: Path) -> bool:
    """Whether git-lfs put a pointer in place of the file. False for what cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(POINTER)) == POINTER
    except OSError:
        return False


def _names(folder: Path) -> list[str]:
    kind = path_kind(folder)
    if kind == "file":
        raise ConfigError(_one_file(folder))
    if kind is None:
        raise ConfigError(f"{folder} is not a folder of a model: there is no such folder")
    try:
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read: {error.strerror}{_RIGHTS}") from error


_RIGHTS = "; let the user that runs Berth read it (chmod -R a+rX), or run Berth as its owner"


def _one_file(path: Path) -> str:
    if path.suffix == ".gguf":
        return (
            f"{path} is a GGUF file, which no engine of Berth reads; name the folder of the model "
            "that it was made from, with config.json and *.safetensors"
        )
    return f"{path} is one file, not a folder of a model; name the folder that it is in"


def _by_weights(folder: Path, names: Sequence[str]) -> Layout | None:
    """The layout whose description and weights are there."""
    hf = own_weights(names) if "config.json" in names else []
    meta = _consolidated(names) if "params.json" in names else []
    if hf and meta and all(is_pointer(folder / name) for name in hf):
        return "meta" if not any(is_pointer(folder / name) for name in meta) else "hf"
    if hf or meta:
        return "hf" if hf else "meta"
    return "hf" if "config.json" in names and INDEX in names else None


def _consolidated(names: Sequence[str]) -> list[str]:
    found = [name for name in names if name.startswith("consolidated")]
    # If the same weights are there twice, the format without pickle is read.
    safetensors = [name for name in found if name.endswith(".safetensors")]
    return safetensors or [name for name in found if name.endswith(".pth")]


def _is_adapted(names: Sequence[str]) -> bool:
    return "adapter_config.json" in names and any(n.startswith("adapter_model.") for n in names)


def _refuse_other_formats(folder: Path, names: Sequence[str]) -> None:
    """Raises ConfigError for weights, without any that are read, of a kind that is not."""
    if "adapter_config.json" in names or any(n.startswith("adapter_model.") for n in names):
        base = _adapted_base(folder)
        raise ConfigError(
            f"{folder_name(folder)} is an adapter (LoRA) of {base or 'another model'} and no "
            "model itself, "
            f"and adapters are not applied by Berth; serve {base or 'that model'}, or merge the "
            "adapter into it with peft: AutoPeftModelForCausalLM.from_pretrained(folder)"
            ".merge_and_unload().save_pretrained(new_folder)"
        )
    if found := [name for name in names if name.endswith(".gguf")]:
        raise ConfigError(
            f"{folder_name(folder)} holds its weights only as GGUF ({found[0]}), which no engine "
            "of Berth "
            "reads; get the model that it was made from, with config.json and *.safetensors"
        )
    described = "config.json" in names
    if any(name.startswith("consolidated") for name in names):
        return
    pickled = [n for n in names if n.endswith(_PICKLES) and n != "training_args.bin"]
    if pickled and (described or pickled[0].startswith("pytorch_model")):
        first = next((n for n in pickled if n.startswith("pytorch_model")), pickled[0])
        raise ConfigError(
            f"{folder_name(folder)} holds its weights only as {first}, a pickle, which could run "
            "any code and is refused; convert it if you trust it, with transformers: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder), "
            "which writes safetensors"
        )
    for name in names:
        if described and (format_name := _FOREIGN.get(Path(name).suffix)):
            raise ConfigError(
                f"{folder_name(folder)} holds its weights only as {name}, {format_name}, which no "
                "engine of Berth reads; get the model's *.safetensors"
            )
    if own_weights(names) and "params.json" not in names:
        raise ConfigError(
            f"{folder_name(folder)} holds weights ({own_weights(names)[0]}) and no config.json, "
            "which says what model they are; put the model's config.json beside them"
        )


def _neither(folder: Path, names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return (
        f"{folder_name(folder)} is no model folder: it needs config.json and *.safetensors "
        "(Hugging Face) or params.json and consolidated.00.pth (Meta); it holds "
        f"{', '.join(names[:_LISTED]) + more if names else 'nothing'}"
    )


def _described(names: Sequence[str], layout: Layout) -> list[str]:
    """The files beside the weights that a server reads, of those that are there."""
    descriptions = _DESCRIPTIONS if layout == "hf" else ("params.json", *_DESCRIPTIONS)
    tokenizers = ["tokenizer.json", "tokenizer.model"]
    if layout == "meta":
        tokenizers.reverse()
    found = [name for name in tokenizers if name in names][:1]
    return [
        *(name for name in descriptions if name in names),
        *(found or [name for name in ("vocab.json", "merges.txt") if name in names]),
    ]


def _refuse_unreadable(path: Path) -> None:
    """Raises ConfigError for a file that cannot be read, or is not the file itself."""
    if path.is_symlink() and not path.exists():
        raise ConfigError(
            f"{path} is a link to {path.readlink()}, which is not there; download the file again"
        )
    try:
        with path.open("rb") as file:
            begins = file.read(len(POINTER))
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder, and should be a file") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}{_RIGHTS}") from error
    if begins == POINTER:
        raise ConfigError(
            f"{path} is a pointer of git-lfs and not the file itself; run git lfs pull in its clone"
        )


def _adapted_base(folder: Path) -> str | None:
    base = (_object(folder / "adapter_config.json") or {}).get("base_model_name_or_path")
    return base if isinstance(base, str) and base else None


def _is_sentence_model(folder: Path, names: Sequence[str]) -> bool:
    """Whether sentence-transformers wrote it, with a pooling of the model's output."""
    if "modules.json" not in names:
        return False
    try:
        modules = json.loads((folder / "modules.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(modules, list) and any(
        isinstance(one, dict) and str(one.get("type")).startswith("sentence_transformers")
        for one in modules
    )


def _object(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
