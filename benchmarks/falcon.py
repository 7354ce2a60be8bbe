"""Falcon through the native engine and through transformers' generate, in one run.

`python -m benchmarks.falcon` makes a small random Falcon of 7b's kind (one kv head, attention and
MLP side by side), serves it with `berth serve`, gives generate the same prompts as one static
batch of equal lengths, which suits it best, and prints tokens per second and their ratio.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import sys
from pathlib import Path

import click

from benchmarks.engines import Berth, Contender, Failed, Transformers
from benchmarks.model_folder import write_tokenizer
from benchmarks.shapes import Shape
from berth.cli.load import make_prompts

TARGET = 2.0  # times generate's throughput
CACHE = Path(__file__).resolve().parent.parent / "build" / "bench"


def _shape(name: str, hidden: int, vocabulary: int) -> Shape:
    return Shape(
        name=f"falcon-{name}",
        hidden=hidden,
        layers=12,
        heads=hidden // 64,
        kv_heads=1,
        intermediate=4 * hidden,
        vocabulary=vocabulary,
        max_position=2048,
        levels=(8,),
    )


SHAPES = {"small": _shape("small", 512, 16_384), "medium": _shape("medium", 768, 32_000)}
_SEED = 20261121
_SPREAD = 0.02  # of the normal distribution, as transformers initialises


def falcon_folder(shape: Shape, cache: Path) -> Path:
    """The folder of a random Falcon of 7b's kind, in bfloat16, made on first use."""
    folder = cache / f"{shape.name}-{shape.hidden}-{shape.vocabulary}"
    if folder.is_dir():
        return folder
    unfinished = cache / f"{folder.name}.{os.getpid()}"
    unfinished.mkdir(parents=True)
    try:
        config = {
            "architectures": ["FalconForCausalLM"],
            "model_type": "falcon",
            "hidden_size": shape.hidden,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "ffn_hidden_size": shape.intermediate,
            "vocab_size": shape.vocabulary,
            "max_position_embeddings": shape.max_position,
            "multi_query": True,
            "parallel_attn": True,
            "bias": False,
            "alibi": False,
            "new_decoder_architecture": False,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "torch_dtype": "bfloat16",
        }
        (unfinished / "config.json").write_text(json.dumps(config, indent=2))
        write_tokenizer(unfinished, shape.vocabulary)
        _write_weights(unfinished)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write_weights(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from berth.checkpoint.folder import load_config
    from berth.models.weights.names import tensor_shapes

    generator = torch.Generator().manual_seed(_SEED)
    tensors = {}
    for name, shape in tensor_shapes(load_config(folder)).items():
        tensor = torch.empty(shape, dtype=torch.bfloat16)
        if len(shape) == 2:
            tensors[name] = tensor.normal_(0, _SPREAD, generator=generator)
        else:
            tensors[name] = tensor.fill_(1.0 if name.endswith(".weight") else 0.0)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--shape", "name", type=click.Choice(list(SHAPES)), default="small", show_default=True
)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--concurrency", type=click.IntRange(1), default=8, show_default=True)
@click.option("--input-tokens", type=click.IntRange(1), default=128, show_default=True)
@click.option("--output-tokens", type=click.IntRange(2), default=128, show_default=True)
@click.option(
    "--served-generate",
    is_flag=True,
    help="Measure berth serve --engine transformers too, over HTTP like the native engine.",
)
def main(
    name: str, rounds: int, concurrency: int, input_tokens: int, output_tokens: int,
    served_generate: bool,
) -> None:  # fmt: skip
    """Measure both; end with status 1 where the ratio is below the target."""
    shape = SHAPES[name]
    folder = falcon_folder(shape, CACHE)
    logs = CACHE / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    native = Berth(shape, folder, "cpu", logs / "falcon-native.log")
    contenders: list[Contender] = [
        native,
        Transformers("generate", folder, "cpu", logs / "falcon-generate.log"),
    ]
    native.name = "native"
    if served_generate:
        served = Berth(
            shape, folder, "cpu", logs / "falcon-served.log", ["--engine", "transformers"]
        )
        served.name = "served generate"
        contenders.append(served)
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    with contextlib.ExitStack() as stack:
        for contender in contenders:
            stack.callback(contender.stop)
            contender.start()
            contender.pause()
        for number in range(-1, rounds):  # -1: warm-up
            prompts = _prompts(shape, concurrency, input_tokens, number)
            length = output_tokens if number >= 0 else min(8, output_tokens)
            # Each goes first in turn, should it matter who does.
            turn = max(0, number) % len(contenders)
            for contender in contenders[turn:] + contenders[:turn]:
                contender.resume()
                figures = contender.run(prompts, length, concurrency)
                contender.pause()
                if number >= 0:
                    rates[contender.name].append(figures.tokens_per_second)
                    rate = f"{figures.tokens_per_second:.1f} tokens/s"
                    click.echo(f"round {number + 1} · {contender.name}: {rate}")
    medians = {name: statistics.median(values) for name, values in rates.items()}
    click.echo(f"concurrency {concurrency}, {input_tokens} tokens in, {output_tokens} out; medians")
    for name, median in medians.items():
        click.echo(f"{name}: {median:.1f} tokens/s")
    ratio = medians["native"] / max(v for name, v in medians.items() if name != "native")
    click.echo(f"native / generate: {ratio:.2f} (target {TARGET:g})")
    if ratio < TARGET:
        sys.exit(1)


def _prompts(shape: Shape, count: int, tokens: int, number: int) -> list[list[int]]:
    made = make_prompts(
        count, tokens, seed=f"falcon/{number}", vocab_size=shape.vocabulary, as_text=False
    )
    return [prompt for prompt in made if isinstance(prompt, list)]


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"benchmarks.falcon: {error}")
