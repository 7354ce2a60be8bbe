"""Where a model's weights come from, and the one error of getting them. Pure."""

from __future__ import annotations

import re
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
    """Where weights are: a hub's repository, perhaps a part of it, perhaps one revision."""

    hub: str  # "meta-llama/Llama-2-7b-chat-hf"
    file: str | None = None  # a file or a folder of it, or a quantisation of its GGUF files
    revision: str | None = None  # a commit, branch or tag; None: the main branch
    variant: str | None = None  # as transformers has them: "fp16" of model.fp16.safetensors

    def __str__(self) -> str:
        return self.hub if self.file is None else f"{self.hub}:{self.file}"


_SOURCE = re.compile(r"(?P<hub>[\w.-]+/[\w.-]+)(:(?P<file>[^:@]+))?(@(?P<revision>[^:@]+))?")


def parse_source(text: str) -> Source | None:
    """HUB_ID, HUB_ID:FILE, either with @REVISION; None if `text` is neither."""
    match = _SOURCE.fullmatch(text)
    if match is None or any(part in (".", "..") for part in match["hub"].split("/")):
        return None
    if match["file"] and ".." in PurePosixPath(match["file"]).parts:
        return None
    return Source(match["hub"], match["file"], match["revision"])
