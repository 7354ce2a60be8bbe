"""Which files of a repository a model needs: its weights, and what says how to run them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from berth.presets.source import HubFile, PullError, Source, parse_source
from berth.presets.weight_choice import (
    Read,
    Weights,
    choose_weights,
    is_pickle,
    named_weights,
)

__all__ = [
    "TOKENIZERS",
    "HubFile",
    "PullError",
    "Source",
    "chosen",
    "folder_of",
    "is_pickle",
    "needed_files",
    "parse_source",
]

# Any one of these lines is a tokeniser.
TOKENIZERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("tekken.json",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("sentencepiece.bpe.model",),
    ("spiece.model",),
    ("tiktoken.model",),
)
# Small files at the top that say how to run the weights, and how to write text for them.
_SMALL = {
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "params.json",
    "quantize_config.json",  # of GPTQ's, AWQ's and ModelOpt's tools
    "quant_config.json",
    "hf_quant_config.json",
    "modules.json",  # of sentence encoders, with the next two
    "sentence_bert_config.json",
    "1_Pooling/config.json",
} | {name for names in TOKENIZERS for name in names}
_SMALL_KINDS = re.compile(
    r"(LICEN[CS]E|USE_POLICY|NOTICE)(\.\w+)?"
    r"|tokenizer\.model\.v\d+\w*"  # Mistral's
    r"|[\w.-]+\.tiktoken"  # the first Qwen's
    r"|additional_chat_templates/[\w.-]+\.jinja",
    re.IGNORECASE,
)


def needed_files(
    files: Sequence[HubFile],
    only: str | None = None,
    *,
    read: Read | None = None,
    variant: str | None = None,
) -> list[HubFile]:
    """What to download, small files first.

    safetensors if there are any; else Meta's consolidated.NN.pth beside a params.json, which
    our loader reads without running them; else the one GGUF file. Never any other pickle.

    Args:
        files: all of the repository's.
        only: one file of weights that was asked for by name, a folder, or a GGUF quantisation.
        read: gives the content of a small file, so that the index says which files there are. None:
            the names alone decide.
        variant: a second number format that was asked for by name ("fp16").

    Raises:
        PullError: there are no weights that may be used; says what there is instead.
    """
    return chosen(files, only, read=read, variant=variant)[0]


def chosen(
    files: Sequence[HubFile],
    only: str | None = None,
    *,
    read: Read | None = None,
    variant: str | None = None,
) -> tuple[list[HubFile], Weights]:
    """As `needed_files`, and the weights among them, by their paths."""
    folder = folder_of([file.path for file in files], only)
    if folder:
        return _in_folder(files, folder, read, variant)
    paths = [file.path for file in files]
    weights = choose_weights(paths, read, variant) if only is None else named_weights(paths, only)
    if weights.paths[0].endswith(".gguf"):
        return _by_path(files, set(weights.paths)), weights
    small = {path for path in paths if path in _SMALL or _SMALL_KINDS.fullmatch(path)}
    if not weights.paths[0].startswith("consolidated") and "config.json" in small:
        small -= {"params.json"}  # it describes the other set
    small |= {weights.index} if weights.index else set()
    return [*_by_path(files, small), *_by_path(files, set(weights.paths))], weights


def folder_of(paths: Sequence[str], only: str | None) -> str:
    """The folder of the repository that `only` names, with a slash; "" if it names none."""
    folder = f"{only.rstrip('/')}/" if only else ""
    return folder if folder and any(path.startswith(folder) for path in paths) else ""


def _in_folder(
    files: Sequence[HubFile], folder: str, read: Read | None, variant: str | None
) -> tuple[list[HubFile], Weights]:
    inside = [
        HubFile(file.path.removeprefix(folder), file.size, file.sha256)
        for file in files
        if file.path.startswith(folder)
    ]
    there = None if read is None else (lambda path: read(folder + path))
    found, weights = chosen(inside, read=there, variant=variant)
    return (
        [HubFile(folder + file.path, file.size, file.sha256) for file in found],
        Weights(
            tuple(folder + path for path in weights.paths),
            weights.index and folder + weights.index,
            weights.notes,
        ),
    )


def _by_path(files: Sequence[HubFile], wanted: set[str]) -> list[HubFile]:
    return sorted((file for file in files if file.path in wanted), key=lambda file: file.path)


def needed_in(folder: Path, source: Source | None = None) -> list[HubFile]:
    """The files of a folder that serving its model needs. Raises PullError, as `needed_files`."""
    files = [HubFile(name, 0) for name in names_in(folder)]
    return needed_files(
        files,
        None if source is None else source.file,
        read=lambda path: (folder / path).read_bytes(),
        variant=None if source is None else source.variant,
    )


def names_in(folder: Path) -> list[str]:
    """All files of a folder and the folders in it, relative to it, in order; none if it is not."""
    # huggingface_hub keeps its own state of a plain folder in .cache.
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if path.parts[0] != ".cache")
