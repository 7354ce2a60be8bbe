"""Which engine a model's folder gets."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from berth.checkpoint.choose import choose_engine
from berth.protocol.config import EngineKind
from berth.serving.tokenizer import read_json


def engine_of_folder(
    folder: Path, wanted: Literal["auto"] | EngineKind = "auto", *, quantise: bool = False
) -> EngineKind:
    """`choose_engine` for what lies in `folder`.

    Raises:
        UnknownArchitecture: the engine that was asked for does not run this model.
        TokenizerError: config.json is no JSON object.
    """
    # Meta's own uploads have a config.json beside params.json; their weights decide.
    stored = [file.name for file in folder.glob("*.safetensors")]
    meta = (folder / "params.json").is_file() and all(n.startswith("consolidated") for n in stored)
    described = (folder / "config.json").is_file() and not meta
    config = read_json(folder / "config.json") if described else None
    return choose_engine(config, wanted, quantise=quantise)
