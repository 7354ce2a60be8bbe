"""Makes a shape's folder: random weights in Hugging Face's layout, with a tokenizer. Cached."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import string
from collections.abc import Iterator
from pathlib import Path

from benchmarks.shapes import Shape

_SEED = 20261121
_SPREAD = 0.02  # of the normal distribution, as transformers initialises
_SPECIAL = ("<unk>", "<s>", "</s>")
_VERSION = 1  # of what this file writes; change it with the content


def model_folder(shape: Shape, cache: Path) -> Path:
    """The folder of `shape`, made on first use. Takes about 20 s and 2.2 GB of memory for M."""
    config = _config(shape)
    digest = hashlib.sha256(json.dumps([_VERSION, config], sort_keys=True).encode()).hexdigest()
    folder = cache / f"{shape.name}-{digest[:8]}"
    if folder.is_dir():
        return folder
    unfinished = cache / f"{folder.name}.{os.getpid()}"
    unfinished.mkdir(parents=True)
    try:
        (unfinished / "config.json").write_text(json.dumps(config, indent=2))
        write_tokenizer(unfinished, shape.vocabulary)
        _write_weights(unfinished / "model.safetensors", shape)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _config(shape: Shape) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.intermediate,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.max_position,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "bfloat16",
    }


def _write_weights(path: Path, shape: Shape) -> None:
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(_SEED)
    kv = shape.kv_heads * shape.head_dim

    def normal(*size: int) -> torch.Tensor:
        return torch.empty(size, dtype=torch.bfloat16).normal_(0, _SPREAD, generator=generator)

    def ones() -> torch.Tensor:
        return torch.ones(shape.hidden, dtype=torch.bfloat16)

    tensors = {"model.embed_tokens.weight": normal(shape.vocabulary, shape.hidden)}
    for index in range(shape.layers):
        layer = f"model.layers.{index}"
        tensors |= {
            f"{layer}.self_attn.q_proj.weight": normal(shape.hidden, shape.hidden),
            f"{layer}.self_attn.k_proj.weight": normal(kv, shape.hidden),
            f"{layer}.self_attn.v_proj.weight": normal(kv, shape.hidden),
            f"{layer}.self_attn.o_proj.weight": normal(shape.hidden, shape.hidden),
            f"{layer}.mlp.gate_proj.weight": normal(shape.intermediate, shape.hidden),
            f"{layer}.mlp.up_proj.weight": normal(shape.intermediate, shape.hidden),
            f"{layer}.mlp.down_proj.weight": normal(shape.hidden, shape.intermediate),
            f"{layer}.input_layernorm.weight": ones(),
            f"{layer}.post_attention_layernorm.weight": ones(),
        }
    tensors["model.norm.weight"] = ones()
    tensors["lm_head.weight"] = normal(shape.vocabulary, shape.hidden)
    save_file(tensors, path, metadata={"format": "pt"})


def write_tokenizer(folder: Path, size: int) -> None:
    """A byte-level BPE of exactly `size` entries, put together without training.

    Its words are all strings of two letters, then three, then four, so that merges and detokenising
    work as in a trained one.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = list(itertools.islice(_words(), size - len(_SPECIAL) - len(alphabet)))
    vocabulary = {token: i for i, token in enumerate([*_SPECIAL, *alphabet, *words])}
    merges = [(word[:-1], word[-1]) for word in words]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(_SPECIAL))
    if tokenizer.get_vocab_size() != size:
        raise ValueError(f"the tokenizer has {tokenizer.get_vocab_size()} entries, not {size}")
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    kind = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(special | kind))


def _words() -> Iterator[str]:
    for length in (2, 3, 4):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            yield "".join(letters)
