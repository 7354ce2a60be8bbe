"""A folder that looks like a model's to the server: tokenizer and configuration, no weights.

Made in a few milliseconds, so nothing binary is committed. For the server's tests too.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import sentencepiece
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

VOCAB = 400
TEXT = [
    "Hello world, this is Berth.",
    "The capital of France is Paris.",
    "What is the capital of France?",
    "A berth is a ship's place at the quay, measured before the ship comes in.",
    "STOP here and there, 123 4567 890; stop at the end.",
    "The quick brown fox jumps over the lazy dog 0123456789.",
]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def sentencepiece_model(*, remove_extra_whitespaces: bool = False) -> bytes:
    """A Llama-2-like tokenizer.model of 400 pieces: <unk>, <s>, </s>, 256 bytes, then words."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 5),
        model_writer=out,
        vocab_size=VOCAB,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=remove_extra_whitespaces,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        num_threads=1,
        minloglevel=2,
    )
    return out.getvalue()


def meta_folder(path: Path) -> Path:
    """A folder in Meta's layout: tokenizer.model and params.json."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "tokenizer.model").write_bytes(sentencepiece_model())
    params = {"dim": 64, "n_layers": 2, "n_heads": 4, "vocab_size": VOCAB, "norm_eps": 1e-5}
    (path / "params.json").write_text(json.dumps(params))
    return path


def byte_level_tokenizer() -> Tokenizer:
    """A GPT-2-like (Qwen, Llama 3) tokenizer with ChatML's special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - 1,
        special_tokens=["<|bos|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT * 5, trainer)
    tokenizer.add_tokens([AddedToken("<think>", special=False)])
    return tokenizer


def llama_tokenizer() -> Tokenizer:
    """Llama 2's tokenizer.json over the pieces of `sentencepiece_model`: the same ids."""
    model = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model())
    vocab = {model.id_to_piece(i): i for i in range(VOCAB)}
    ranked = sorted(vocab, key=lambda piece: vocab[piece])
    merges = [
        (piece[:cut], piece[cut:])
        for piece in ranked
        for cut in range(1, len(piece))
        if piece[:cut] in vocab and piece[cut:] in vocab
    ]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def hugging_face_folder(path: Path) -> Path:
    """A folder in Hugging Face's layout, with a ChatML template."""
    path.mkdir(parents=True, exist_ok=True)
    byte_level_tokenizer().save(str(path / "tokenizer.json"))
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "eos_token_id": 2}
    (path / "config.json").write_text(json.dumps(config))
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 0]}))
    tokenizer_config = {
        "bos_token": "<|bos|>",
        "eos_token": {"content": "<|im_end|>", "special": True},
        "add_bos_token": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    return path
