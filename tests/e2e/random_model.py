"""A random Llama with a real tokenizer, in Meta's layout: it never ends by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sentencepiece

from models.checkpoints import tiny_config, write_meta
from serving.tiny_model import sentencepiece_model


def random_model(folder: Path, **changes: Any) -> Path:
    """Write it; `changes` are fields of its ModelConfig. Returns the folder."""
    data = sentencepiece_model()
    pieces = sentencepiece.SentencePieceProcessor(model_proto=data).get_piece_size()
    vocab = -(-pieces // 8) * 8  # so that it divides among ranks, as Meta pads its own
    write_meta(folder, tiny_config(**{"vocab_size": vocab, "max_position": 512} | changes))
    (folder / "tokenizer.model").write_bytes(data)
    return folder
