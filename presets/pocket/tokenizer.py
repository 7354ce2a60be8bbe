"""Trains Pocket's SentencePiece tokenizer on the scripted corpus, with Llama's settings."""

from __future__ import annotations

import argparse
import io
import random
from collections.abc import Iterator
from pathlib import Path

import corpus
import sentencepiece as spm

VOCAB_SIZE = 2048
WEIGHTS = Path(__file__).with_name("weights")


def _lines(documents: int, seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    for _ in range(documents):
        document = corpus.sample(rng)
        texts = [message["content"] for message in document.messages]
        for text in texts or [f"{document.prompt} {document.answer}"]:
            # Line breaks never reach the trainer, so that they stay the byte token <0x0A>.
            yield from (line for line in text.split("\n") if line)
    for _ in range(10):
        yield from corpus.entity_texts()
    for _ in range(200):
        yield "[INST] <<SYS>> <</SYS>> [/INST]"


def train(documents: int = 60_000, seed: int = 1) -> bytes:
    """The serialised tokenizer model: BPE, byte fallback, single digits, bos 1 and eos 2."""
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=_lines(documents, seed),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCAB_SIZE,
        byte_fallback=True,
        split_digits=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        allow_whitespace_only_pieces=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        minloglevel=2,
    )
    return model.getvalue()


def main() -> None:
    """Write weights/tokenizer.model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS / "tokenizer.model")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(train())
    print(f"wrote {arguments.out.name}, {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
