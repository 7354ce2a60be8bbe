"""A model's folder, opened for serving: its tokeniser and its chat template. No weights."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from berth.limits.memory import give_back
from berth.protocol.config import EngineConfig
from berth.serving.chat_template import ChatTemplate, Llama2Template, PlainTemplate
from berth.serving.chat_templates import NAMES, named_template
from berth.serving.file_template import file_template
from berth.serving.jinja_template import JinjaTemplate, find_template
from berth.serving.launch import LaunchConfig
from berth.tokenizer.base import Tokenizer, TokenizerError
from berth.tokenizer.files import is_huggingface, load_tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingConfig:
    """Everything one service needs, validated. Times in seconds."""

    model_id: str
    tokenizer: Tokenizer
    template: ChatTemplate
    engine: EngineConfig  # its `socket` is filled in at each start
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    max_waiting: int = 256  # requests beyond those that run in one step
    request_timeout: float = 600.0
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        if self.max_waiting < 0:
            raise ValueError(f"max_waiting is {self.max_waiting}; it should be at least 0")
        if not self.request_timeout > 0:
            raise ValueError(f"request_timeout is {self.request_timeout}; it should be above 0")
        self.launch.local_ranks(self.engine.degree)


def open_model(
    engine: EngineConfig,
    *,
    model_id: str,
    tokenizer: str | None = None,
    template: str | None = None,
    fallback_template: str | None = None,
    launch: LaunchConfig | None = None,
    max_waiting: int = 256,
    request_timeout: float = 600.0,
) -> ServingConfig:
    """Read the tokeniser and the template of `engine.model`, a folder in either layout.

    Args:
        model_id: the name that clients use.
        tokenizer: its file, if it is not in the folder.
        template: a name of `chat_templates`, a file (see `file_template`), or "jinja" for the
            folder's own, whatever the folder has; None chooses by the folder.
        fallback_template: the same, for a folder without one of its own.

    Raises:
        TokenizerError: the folder, its tokeniser or its template is missing or broken.
        ValueError: a number is out of its range.
    """
    folder = Path(engine.model)
    if not folder.is_dir():
        raise TokenizerError(f"{folder} is not a folder; it should hold a model's files")
    loaded = load_tokenizer(folder, Path(tokenizer) if tokenizer else None)
    chosen = select_template(folder, loaded, template, fallback_template)
    give_back()  # a vocabulary is read in many small pieces: a quarter of what it took
    return ServingConfig(
        model_id=model_id,
        tokenizer=loaded,
        template=chosen,
        engine=engine,
        launch=launch or LaunchConfig(),
        max_waiting=max_waiting,
        request_timeout=request_timeout,
    )


def select_template(
    folder: Path, tokenizer: Tokenizer, name: str | None = None, fallback: str | None = None
) -> ChatTemplate:
    """The template named, else the folder's own, else `fallback`, else what its layout suggests.

    That is llama-2 for Meta's layout, plain for Hugging Face's.

    Raises:
        TokenizerError: no such name, or the folder's template cannot be read.
    """
    if name is not None and name not in ("jinja", *NAMES) and _is_file(name):
        return file_template(Path(name), folder, tokenizer)
    if name is not None and name != "jinja":
        return named_template(name, folder, tokenizer)
    source = find_template(folder)
    if source is not None:
        return JinjaTemplate(source, folder, tokenizer)
    if name == "jinja":
        raise TokenizerError(
            f"{folder} has no chat template of its own; it should be one of {', '.join(NAMES)}"
        )
    if fallback is not None and fallback != "jinja":
        return named_template(fallback, folder, tokenizer)
    if is_huggingface(folder):
        return PlainTemplate(tokenizer)
    return Llama2Template(tokenizer)


def _is_file(name: str) -> bool:
    """Whether a template's name is meant as a path."""
    return "/" in name or "." in name or Path(name).is_file()
