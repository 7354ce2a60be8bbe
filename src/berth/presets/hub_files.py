"""Which files of a repository a model needs, decided from their names alone. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath


class PullError(Exception):
    """Weights cannot be had; the message is a sentence with the way out of it."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository."""

    path: str  # inside the repository
    size: int  # bytes
    sha256: str | None = None  # of files in large-file storage; None: git's own small ones


@dataclass(frozen=True, slots=True)
class Source:
    """Where weights are: a hub's repository, perhaps one file of it, perhaps one revision."""

    hub: str  # "meta-llama/Llama-2-7b-chat-hf"
    file: str | None = None
    revision: str | None = None  # a commit, branch or tag; None: the main branch

    def __str__(self) -> str:
        return self.hub if self.file is None else f"{self.hub}:{self.file}"


_SOURCE = re.compile(r"(?P<hub>[\w.-]+/[\w.-]+)(:(?P<file>[^:@]+))?(@(?P<revision>[^:@]+))?")


def parse_source(text: str) -> Source | None:
    """HUB_ID, HUB_ID:FILE, either with @REVISION; None where `text` is neither."""
    match = _SOURCE.fullmatch(text)
    if match is None or any(part in (".", "..") for part in match["hub"].split("/")):
        return None
    if match["file"] and ".." in PurePosixPath(match["file"]).parts:
        return None
    return Source(match["hub"], match["file"], match["revision"])


# Small files at the top that say how to run the weights, and how to write text for them.
_SMALL = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "params.json",
    "modules.json",  # of sentence encoders, with the next two
    "sentence_bert_config.json",
    "1_Pooling/config.json",
}
_LICENCES = re.compile(r"(LICEN[CS]E|USE_POLICY|NOTICE)(\.\w+)?", re.IGNORECASE)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_META = re.compile(r"consolidated\.\d+\.pth")
_GGUF_PART = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<total>\d{5})\.gguf")


def is_pickle(path: str) -> bool:
    """Whether reading the file may run code that it carries."""
    return path.lower().endswith(_PICKLES)


def needed_files(files: Sequence[HubFile], only: str | None = None) -> list[HubFile]:
    """What to download, small files first.

    safetensors where there are any; else Meta's consolidated.NN.pth beside a params.json, which
    our loader reads without running them; else the one GGUF file. Never any other pickle.

    Args:
        files: all of the repository's.
        only: one file of weights that was asked for by name.

    Raises:
        PullError: there are no weights that may be used; says what there is instead.
    """
    if only is not None:
        return _named(files, only)
    top = [file for file in files if "/" not in file.path]
    weights = _safetensors(top) or _meta(top) or _gguf(top)
    if not weights:
        raise PullError(_nothing(files))
    if weights[0].path.endswith(".gguf"):
        return weights
    return [*_small(files), *weights]


def _small(files: Sequence[HubFile]) -> list[HubFile]:
    indexes = {"model.safetensors.index.json"}
    return sorted(
        (f for f in files if f.path in _SMALL | indexes or _LICENCES.fullmatch(f.path)),
        key=lambda file: file.path,
    )


def _sorted(files: Sequence[HubFile], wanted: Callable[[str], object]) -> list[HubFile]:
    return sorted((file for file in files if wanted(file.path)), key=lambda file: file.path)


def _safetensors(top: Sequence[HubFile]) -> list[HubFile]:
    found = _sorted(top, lambda path: path.endswith(".safetensors"))
    # Some repositories hold the same weights twice: consolidated.safetensors is Mistral's layout.
    model = [file for file in found if file.path.startswith("model")]
    whole = [file for file in model if file.path == "model.safetensors"]
    return whole or model or found


def _meta(top: Sequence[HubFile]) -> list[HubFile]:
    if all(file.path != "params.json" for file in top):
        return []
    return _sorted(top, _META.fullmatch)


def _gguf(top: Sequence[HubFile]) -> list[HubFile]:
    found = _sorted(top, lambda path: path.endswith(".gguf"))
    models = {_stem(file.path) for file in found}
    if len(models) > 1:
        names = ", ".join(sorted(file.path for file in found)[:12])
        raise PullError(f"there are several GGUF files; name one after a colon: {names}")
    return found


def _stem(path: str) -> str:
    match = _GGUF_PART.fullmatch(path)
    return match["stem"] if match else path


def _named(files: Sequence[HubFile], only: str) -> list[HubFile]:
    if is_pickle(only) and not _META.fullmatch(only):
        raise PullError(f"{only} is a pickle, which can run code; use safetensors or GGUF")
    chosen = [file for file in files if file.path == only]
    if not chosen:
        names = ", ".join(file.path for file in files[:12])
        raise PullError(f"there is no file {only}; there are {names}")
    if (part := _GGUF_PART.fullmatch(only)) is not None:
        return _sorted(
            files, lambda path: (m := _GGUF_PART.fullmatch(path)) and m["stem"] == part["stem"]
        )
    return chosen if only.endswith(".gguf") else [*_small(files), *chosen]


def _nothing(files: Sequence[HubFile]) -> str:
    if pickles := [file.path for file in files if is_pickle(file.path)]:
        return (
            f"its weights are only there as {pickles[0]}, a pickle, which can run code; "
            "look for a conversion to safetensors"
        )
    if not files:
        return "it is empty"
    names = ", ".join(file.path for file in files[:12])
    return f"it holds no weights that we read (*.safetensors, *.gguf), only {names}"
