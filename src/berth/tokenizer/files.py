"""Finding and reading the right tokeniser in a model's folder."""

from __future__ import annotations

import re
from pathlib import Path

from berth.checkpoint.errors import ConfigError
from berth.checkpoint.layout import folder_layout
from berth.tokenizer.base import Tokenizer, TokenizerError, read_file
from berth.tokenizer.huggingface import HuggingFaceTokenizer
from berth.tokenizer.sentencepiece import SentencePieceTokenizer
from berth.tokenizer.vocab_merges import VOCAB, build, has_vocab_and_merges

_TIKTOKEN_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n")


def load_tokenizer(folder: Path, file: Path | None = None) -> Tokenizer:
    """Read the tokeniser of a model's folder, or `file` if it lies elsewhere.

    A folder in Hugging Face's layout is read from tokenizer.json, else tokenizer.model, else
    vocab.json and merges.txt; one in Meta's from tokenizer.model first.

    Raises:
        TokenizerError: nothing there, not readable, or Llama 3's tiktoken format.
    """
    if file is not None:
        candidates = [file]
    else:
        names = ["tokenizer.json", "tokenizer.model"]
        if not is_huggingface(folder):
            names.reverse()
        candidates = [folder / name for name in names if (folder / name).is_file()]
    if not candidates and has_vocab_and_merges(folder):
        return HuggingFaceTokenizer(folder / VOCAB, build(folder), folder)
    if not candidates:
        raise TokenizerError(
            f"{folder} has no tokenizer.model and no tokenizer.json; "
            "put the model's tokenizer file there, or name it with --tokenizer"
        )
    for path in candidates:
        data = read_file(path)
        if path.suffix == ".json":
            return HuggingFaceTokenizer(path, data, folder)
        if not _TIKTOKEN_LINE.match(data):
            return SentencePieceTokenizer(path, data, folder, huggingface=is_huggingface(folder))
    raise TokenizerError(
        f"{candidates[-1]} is in tiktoken's format (Llama 3), which is not read; "
        "put the model's tokenizer.json from its Hugging Face folder beside it"
    )


def is_huggingface(folder: Path) -> bool:
    """Whether a folder is read in Hugging Face's layout; of one without weights, by config.json."""
    try:
        return folder_layout(folder, served=False) == "hf"
    except ConfigError:  # said by what opens the weights
        return (folder / "config.json").exists()
