"""What prompts of many different lengths leave behind: no memory, and no other bits."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from berth.kernels.library import library
from berth.kernels.linear import available as has_amx
from engines.native.harness import Engine, random_prompt
from models.checkpoints import random_tensors, tiny_config, write_hf

TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the built-in one's shapes, in two layers."""
    config = tiny_config(
        hidden_size=256, intermediate_size=688, num_kv_heads=4, head_dim=32, vocab_size=4096
    )
    path = tmp_path_factory.mktemp("model")
    write_hf(path, config, random_tensors(config))
    return path


def child(isa: str, *argv: str) -> str:
    """The output of a python of this suite on a CPU that oneDNN takes for an `isa`."""
    env = os.environ | {"PYTHONPATH": f"{TESTS}", "ONEDNN_MAX_CPU_ISA": isa}
    command = [sys.executable, *argv]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("dtype", "isa"),
    [("bfloat16", "DEFAULT"), ("bfloat16", "AVX512_CORE_BF16"), ("float32", "DEFAULT")],
)
def test_memory_does_not_grow_with_the_number_of_prompt_lengths(
    folder: Path, dtype: str, isa: str
) -> None:
    if isa != "DEFAULT" and not has_amx():
        pytest.skip("without AMX this is what oneDNN takes the CPU for anyway")
    script = TESTS / "engines" / "native" / "many_sizes.py"
    early, late = map(int, child(isa, str(script), str(folder), dtype, "600").split())
    assert late < 1.05 * early, f"{early} KiB after 100 lengths, {late} KiB after 630"


def replay(folder: Path, dtype: torch.dtype) -> None:
    """Eight streams of 210 tokens, undisturbed and replayed from several places: the same."""

    def engine(batch_tokens: int) -> Engine:
        return Engine(
            folder, dtype=dtype, blocks=160, max_batch_tokens=batch_tokens, positions=512
        )  # fmt: skip

    prompts = [random_prompt(i, 7 + 13 * i, 4096) for i in range(8)]
    params = [
        {"max_tokens": 210, "temperature": 0.8 if i % 2 else 0.0, "seed": i} for i in range(8)
    ]
    first = engine(64)
    ids = [first.submit(prompt, **more) for prompt, more in zip(prompts, params, strict=True)]
    first.drain()
    whole = [first.tokens(request) for request in ids]
    assert [len(tokens) for tokens in whole] == [210] * 8
    for cut, batch_tokens in ((1, 64), (20, 1024), (97, 48), (180, 1024)):
        second = engine(batch_tokens)
        order = list(range(8))
        random.Random(cut).shuffle(order)
        sent = {i: whole[i][: cut + 3 * i] for i in order}
        again = {i: second.submit(prompts[i], sent[i], **params[i]) for i in order}
        second.drain()
        for i in order:
            assert sent[i] + second.tokens(again[i]) == whole[i], (cut, i)


def needs_avx512() -> None:
    lib = library()
    if lib is None or not lib.prefill_ready():
        pytest.skip("promised on CPUs with AVX-512")


def test_a_replay_in_float32_goes_on_as_the_undisturbed_stream(folder: Path) -> None:
    needs_avx512()
    replay(folder, torch.float32)


def test_a_replay_in_bfloat16_goes_on_as_the_undisturbed_stream(folder: Path) -> None:
    needs_avx512()
    if has_amx():
        pytest.skip("with AMX, products of many rows are summed in another order than of few")
    replay(folder, torch.bfloat16)


def test_a_replay_does_so_too_where_products_are_made_without_instructions_for_bfloat16(
    folder: Path,
) -> None:
    needs_avx512()
    if has_amx():
        pytest.skip("with AMX, products of few rows are not oneDNN's, and would still use it")
    code = """
import pathlib, sys, torch
from engines.native.test_many_sizes import replay
torch.set_num_threads(1)
replay(pathlib.Path(sys.argv[1]), torch.bfloat16)
"""
    child("AVX512_CORE", "-c", code, str(folder))
