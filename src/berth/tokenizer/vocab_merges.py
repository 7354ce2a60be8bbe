"""vocab.json and merges.txt, as folders without a tokenizer.json have them: GPT-2's, and Qwen's.

transformers 5.23 builds the same from them (models/gpt2/tokenization_gpt2.py,
models/qwen2/tokenization_qwen2.py).
"""

from __future__ import annotations

from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from berth.tokenizer.base import TokenizerError, tokenizer_class, tokenizer_config

VOCAB, MERGES = "vocab.json", "merges.txt"
_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def has_vocab_and_merges(folder: Path) -> bool:
    """Whether both files are there."""
    return (folder / VOCAB).is_file() and (folder / MERGES).is_file()


def build(folder: Path) -> bytes:
    """The tokenizer.json that the two files make.

    Raises:
        TokenizerError: they are broken, or of a class whose way to split a text is not known.
    """
    name = tokenizer_class(folder)
    if name not in ("GPT2Tokenizer", "Qwen2Tokenizer"):
        raise TokenizerError(
            f"{folder} has no tokenizer.json, and {name or 'a tokenizer of no class'} is not built "
            f"from {VOCAB} and {MERGES}; make it with transformers: "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        )
    try:
        vocab, merges = models.BPE.read_file(str(folder / VOCAB), str(folder / MERGES))
        made = tokenizers.Tokenizer(
            models.BPE(vocab, merges, continuing_subword_prefix="", end_of_word_suffix="")
        )
    except Exception as error:  # the library raises the bare class
        raise TokenizerError(f"{folder / VOCAB} and {MERGES} cannot be read: {error}") from error
    spaced = tokenizer_config(folder).get("add_prefix_space") is True
    made.decoder = decoders.ByteLevel()
    if name == "Qwen2Tokenizer":
        made.normalizer = normalizers.NFC()
        split = pre_tokenizers.Split(tokenizers.Regex(_QWEN), behavior="isolated", invert=False)
        rest = pre_tokenizers.ByteLevel(add_prefix_space=spaced, use_regex=False)
        made.pre_tokenizer = pre_tokenizers.Sequence([split, rest])
    else:
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced)
    return made.to_str().encode()
