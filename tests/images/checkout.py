"""A small checkout with one preset of each Dockerfile, weights for them, and fake build tools."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.numpy import save_file

SHAPE = {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 64, "intermediate_size": 96}
_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "torch_dtype": "float32",
    **SHAPE,
}
# Two layers, the embedding, the head and the last norm.
PARAMETERS = 2 * (4 * 64 * 64 + 3 * 64 * 96 + 2 * 64) + 2 * 64 * 64 + 64
_BASE = {
    "licence": "apache-2.0",
    "parameters": PARAMETERS,
    "context": 64,
    "template": "plain",
    "config": _CONFIG,
}

# Records how it was called, and answers like the tool: what it should do is in its environment.
_TOOL = """#!{python}
import json, os, pathlib, sys
name, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
seen = {{}}
for word in arguments:
    if word.startswith("weights="):
        folder = pathlib.Path(word.removeprefix("weights="))
        seen = {{str(p.relative_to(folder)): p.is_symlink() for p in sorted(folder.rglob("*"))}}
call = {{"tool": name, "argv": arguments, "cwd": os.getcwd(), "sees": seen}}
with open(os.environ["FAKE_LOG"], "a") as log:
    print(json.dumps(call), file=log)
command = " ".join([name, *arguments])
if any(command.startswith(bad) for bad in os.environ.get("FAKE_FAILS", "").split(";") if bad):
    print("the fake tool fails", file=sys.stderr)
    sys.exit(7)
if arguments[0] == "info":
    store = os.environ.get("FAKE_STORE", "")
    if name == "docker":
        print(store)
    else:
        print(json.dumps({{"store": {{"graphRoot" if name == "podman" else "GraphRoot": store}}}}))
if arguments[0] == "build":
    print("STEP 1/1: FROM scratch")
"""


@dataclass
class Checkout:
    """The folders, and how `berth build` is run in them."""

    root: Path
    bin: Path
    store: Path
    cache: Path
    environment: dict[str, str] = field(default_factory=dict)

    def add_tool(self, name: str) -> None:
        tool = self.bin / name
        tool.write_text(_TOOL.format(python=sys.executable))
        tool.chmod(0o755)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Every call of a fake tool, in order."""
        log = self.bin / "log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def builds(self) -> list[dict[str, Any]]:
        return [call for call in self.calls if call["argv"][0] == "build"]

    def berth_build(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A real process, with nothing of this machine's tools on its PATH."""
        return subprocess.run(
            [sys.executable, "-m", "berth.cli.main", "build", *arguments],
            env={
                "PATH": str(self.bin),
                "HOME": str(self.root.parent),
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
                "BERTH_PRESETS": str(self.root / "presets"),
                "HF_HUB_CACHE": str(self.cache),
                "SOURCE_DATE_EPOCH": "1700000000",
                "FAKE_LOG": str(self.bin / "log"),
                "FAKE_STORE": str(self.store),
                **self.environment,
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def make_checkout(folder: Path) -> Checkout:
    """A checkout with llama-2-7b-chat, falcon-7b, small-model and pocket, all of one tiny shape."""
    root = folder / "checkout"
    falcon = {**_BASE, "config": falcon_config(), "parameters": 3392, "context": 2048}
    families = {
        "llama-2": [{"name": "llama-2-7b-chat", "hub": "meta/Llama", "gated": True, **_BASE}],
        "falcon": [{"name": "falcon-7b", "hub": "tii/falcon", **falcon}],
        "small": [
            {"name": "small-model", "hub": "someone/small", **_BASE},
            {"name": "large-model", "hub": "someone/large", "gated": "unknown", **_BASE},
            {
                "name": "foreign-model",
                "hub": "someone/foreign",
                **_BASE,
                "engine": "none",
                "reason": "it is foreign",
            },
        ],
        "pocket": [{"name": "pocket", "weights": "weights", **_BASE}],
    }
    for family, versions in families.items():
        (root / "presets" / family).mkdir(parents=True)
        entries = [{"engine": "native", "title": entry["name"], **entry} for entry in versions]
        text = yaml.safe_dump({"family": family, "title": family, "presets": entries})
        (root / "presets" / family / "preset.yaml").write_text(text)
    presets = [f"presets/{name}" for name in ("llama-2-chat", "falcon", "huggingface", "pocket")]
    for place in (*presets, "docker/base", "docker/controller"):
        (root / place).mkdir(parents=True, exist_ok=True)
        (root / place / "Dockerfile").write_text("FROM scratch\n")
    (root / "src" / "berth").mkdir(parents=True)
    (root / "pyproject.toml").write_text("")
    made = Checkout(root, folder / "bin", folder / "store", folder / "cache")
    for path in (made.bin, made.store, made.cache):
        path.mkdir()
    write_meta(root / "presets" / "pocket" / "weights")
    return made


def falcon_config() -> dict[str, Any]:
    return {
        "architectures": ["FalconForCausalLM"],
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 32,
        "multi_query": True,
        "parallel_attn": True,
        "new_decoder_architecture": False,
        "bias": False,
        "alibi": False,
        "torch_dtype": "float32",
    }


def write_meta(folder: Path, shards: int = 1, parameters: int = PARAMETERS) -> Path:
    """Weights in Meta's layout whose files are as large as the catalogue says."""
    folder.mkdir(parents=True, exist_ok=True)
    params = {"dim": SHAPE["hidden_size"], "n_layers": SHAPE["num_hidden_layers"], "n_heads": 2}
    (folder / "params.json").write_text(json.dumps(params))
    (folder / "tokenizer.model").write_bytes(b"pieces")
    for number in range(shards):
        tensor = torch.zeros(parameters // shards)
        torch.save({"tok_embeddings.weight": tensor}, folder / f"consolidated.{number:02d}.pth")
    return folder


def write_huggingface(folder: Path, shards: int = 1, **changed: Any) -> Path:
    """Weights in Hugging Face's layout, with an index where there are several files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**_CONFIG, **changed}))
    (folder / "tokenizer.json").write_text("{}")
    names = [f"model-{n + 1:05d}-of-{shards:05d}.safetensors" for n in range(shards)]
    names = names if shards > 1 else ["model.safetensors"]
    for number, name in enumerate(names):
        save_file({f"part.{number}": np.zeros(PARAMETERS // shards, "f4")}, folder / name)
    if shards > 1:
        index = {"weight_map": {f"part.{number}": name for number, name in enumerate(names)}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def write_pulled(cache: Path, hub: str, shards: int = 1) -> Path:
    """Weights as `berth pull` leaves them: links into the cache's own folder of contents."""
    repository = cache / f"models--{hub.replace('/', '--')}"
    commit = "0" * 40
    snapshot = write_huggingface(repository / "snapshots" / commit, shards)
    blobs = repository / "blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(snapshot.iterdir())):
        file.rename(blobs / str(number))
        file.symlink_to(Path("..") / ".." / "blobs" / str(number))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return snapshot
