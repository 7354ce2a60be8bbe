"""Loading a rank's share takes little more memory than the share itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from berth.checkpoint.config import ModelConfig
from berth.models.weights.names import tensor_shapes
from models.checkpoints import random_tensors, tiny_config, write_hf, write_meta

LIMIT = 1.2  # times the rank's own share

# Loads both ranks of degree 2 one after the other, as a model does: an empty parameter, filled
# from a slice, whose pages are then released. Prints the peak growth and the share of each.
LOADER = """
import gc, json, sys, torch
from berth.models.weights.folder import open_weights
from berth.models.weights.names import tensor_shapes

ROWS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "embed_tokens", "lm_head")
COLUMNS = ("o_proj", "down_proj")

def memory(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))

def load(folder, rank, degree):
    source = open_weights(folder)
    shapes = tensor_shapes(source.config)
    source.check(shapes)
    held = []
    for name, shape in shapes.items():
        module = name.split(".")[-2]
        dim = 0 if module in ROWS else 1 if module in COLUMNS else None
        whole = shape[dim or 0]
        length = whole // degree if dim is not None else whole
        part = source.read(name, dim=dim or 0, start=rank * length % whole, length=length)
        held.append(torch.empty(part.shape, dtype=part.dtype).copy_(part))
        del part
        source.release(name)
    source.close()
    return sum(tensor.nbytes for tensor in held)

torch.set_num_threads(1)
small, large = sys.argv[1:]
load(small, 0, 2)  # what torch allocates once is not the weights'
report = []
for rank in range(2):
    gc.collect()
    before = memory("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew from here
    share = load(large, rank, 2)
    report.append({"grown": memory("VmHWM") - before, "share": share})
print(json.dumps(report))
"""


def big_config() -> ModelConfig:
    """96M parameters: 192 MB in bfloat16, none of its tensors above a tenth of a share."""
    return tiny_config(
        vocab_size=4096,
        hidden_size=1024,
        intermediate_size=2816,
        num_layers=7,
        num_heads=16,
        num_kv_heads=8,
        head_dim=64,
        dtype="bfloat16",
    )


@pytest.fixture(scope="module")
def big_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        # Any bits but those of NaN and infinity; faster than randn.
        name: torch.randint(0, 0x3F80, shape, dtype=torch.int16, generator=generator).view(
            torch.bfloat16
        )
        for name, shape in tensor_shapes(big_config()).items()
    }


@pytest.mark.parametrize("layout", ["meta-1", "meta-2", "meta-4", "hf-3"])
def test_loading_a_rank_peaks_below_its_share_and_a_fifth(
    layout: str, big_tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    kind, count = layout.split("-")
    small, large = tmp_path / "small", tmp_path / "large"
    tiny = tiny_config()
    if kind == "meta":
        write_meta(small, tiny, random_tensors(tiny), shards=int(count))
        write_meta(large, big_config(), big_tensors, shards=int(count))
    else:
        write_hf(small, tiny, random_tensors(tiny), files=int(count))
        write_hf(large, big_config(), big_tensors, files=int(count))
    done = subprocess.run(
        [sys.executable, "-c", LOADER, str(small), str(large)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    total = sum(tensor.nbytes for tensor in big_tensors.values())
    for rank in json.loads(done.stdout):
        assert rank["share"] > 0.49 * total
        assert rank["grown"] >= 0.9 * rank["share"], "the measure itself is off"
        assert rank["grown"] <= LIMIT * rank["share"], rank["grown"] / rank["share"]
    for file in large.iterdir():
        file.unlink()  # pytest keeps temporary folders for a while
