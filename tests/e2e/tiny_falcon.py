"""A small random Falcon with a real tokenizer, as a Hugging Face folder: it never ends by itself.

Random weights of great spread, so that greedy choices are clear and the text varies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engines.transformers.tiny_models import make_model
from serving.tiny_model import VOCAB, hugging_face_folder


def tiny_falcon(folder: Path, name: str = "falcon-7b", **changes: Any) -> Path:
    """Write it: tokenizer.json, config.json, model.safetensors. Returns the folder."""
    hugging_face_folder(folder)
    for file in ("generation_config.json", "config.json", "tokenizer_config.json"):
        (folder / file).unlink()  # they name a token that ends the text
    model = make_model(name, vocab_size=VOCAB, bos_token_id=0, eos_token_id=None, **changes)
    model.save_pretrained(folder)
    return folder
