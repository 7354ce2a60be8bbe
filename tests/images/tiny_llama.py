"""A build context whose catalogue has a tiny Llama 2, and that model's weights in two shards."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import yaml

from berth.checkpoint.config import ModelConfig
from berth.checkpoint.numbers import from_config_json, parameter_count
from e2e.berth_server import ROOT
from models.checkpoints import random_tensors, tiny_config, write_meta
from serving.tiny_model import VOCAB, sentencepiece_model

NAME = "llama-2-tiny-chat"


def checkout(folder: Path) -> Path:
    """A copy of the repository as a fresh clone has it, with NAME in its catalogue: an entry of
    preset.yaml is all that a new version of a known model takes."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    catalogue = folder / "presets/llama-2/preset.yaml"
    catalogue.write_text(catalogue.read_text() + _entry())
    return folder


def write_weights(folder: Path, shards: int = 2) -> Path:
    """Meta's layout, as her download leaves it: the tokeniser with the weights."""
    config = _config()
    write_meta(folder, config, random_tensors(config, seed=7), shards=shards)
    (folder / "tokenizer.model").write_bytes(sentencepiece_model())
    return folder


def _config() -> ModelConfig:
    return tiny_config(vocab_size=VOCAB)


def _entry() -> str:
    config = _config()
    numbers = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_position,
        "torch_dtype": config.dtype,
    }
    entry = {
        "name": NAME,
        "title": "A tiny one",
        "source": "made by a test",
        "licence": "apache-2.0",
        "parameters": parameter_count(from_config_json(numbers)),
        "context": config.max_position,
        "engine": "native",
        "template": "llama-2",
        "config": numbers,
    }
    text = yaml.safe_dump([entry], sort_keys=False)
    return "".join(f"  {line}\n" for line in text.splitlines())
