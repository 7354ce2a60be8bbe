"""berth fit: its exit status, its words, its table and its JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from berth.cli.fit import fit
from models.checkpoints import tiny_config, write_hf


def run(*arguments: str) -> Result:
    return CliRunner().invoke(fit, list(arguments))


def test_it_fits_and_says_what_the_memory_goes_to() -> None:
    result = run("llama-2-7b-chat", "--gpu", "NVIDIA-L4", "--count", "2")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("llama-2-7b-chat fits on 2 x NVIDIA-L4 (native, tensor-parallel 2")
    bars = [line for line in lines if line.startswith("GPU ")]
    assert len(bars) == 2
    assert "WWWW" in bars[0]
    assert "KK" in bars[0]
    assert "W weights" in lines[-1]


def test_a_refusal_begins_with_the_seeds_words_and_exits_1() -> None:
    result = run("LLAMA-2-70B-chat", "--sku", "standard_nc24s_V3", "--context", "512")
    assert result.exit_code == 1
    assert result.output.startswith(
        "Insufficient number of GPUs: Instance type Standard_NC24s_v3 provides 4, but preset "
        "llama-2-70b-chat requires at least "
    )
    assert "Insufficient GPU memory: Instance type Standard_NC24s_v3 provides 15" in result.output
    assert "Insufficient total GPU memory: " in result.output
    assert "weights" in result.output
    assert "It would fit with instance type Standard_" in result.output


def test_less_than_the_models_context_is_a_yes_until_more_is_asked() -> None:
    where = ("--gpu", "L4", "--engine", "native")
    free = run("llama-3.1-8b-instruct", *where)
    assert free.exit_code == 0
    assert "llama-3.1-8b-instruct fits with " in free.output
    asked = run("llama-3.1-8b-instruct", *where, "--context", "131072")
    assert asked.exit_code == 1
    assert "does not fit with 131,072 tokens x 1, it would with " in asked.output
    assert "a context of " in asked.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("llama-2-7b",), "say where"),
        (("llama-2-7b", "--sku", "g5.xlarge", "--gpu", "L4"), "is enough"),
        (("llama-2-7b", "--sku", "Standard_NC24s_v9"), "nearest: Standard_NC24s_v3"),
        (("llama-2-7b", "--gpu", "RTX 4091"), "is not known; nearest: NVIDIA-GeForce-RTX-4090"),
        (("llama-2-7b", "--gpu", "banana"), "GPU product 'banana' is not known\n"),
        (("llama-2-7b", "--gpu", "A100"), "may be one of several; name one of NVIDIA-A100-80GB"),
        (("llama-2-7b", "--gpu-memory", "much"), "'much' is no size; write 24 (GiB) or 512M"),
        (("llama-2-7b", "--gpu-memory", "24", "--ram", "8"), "is enough"),
        (("llama-2-7b", "--gpu", "L4", "--count", "0"), "at least 1"),
        (("llama-2-7", "--gpu", "L4"), "llama-2-7b"),
        (("llama-2-7b", "--gpu", "L4", "--context", "9999"), "made for 4096 tokens"),
        (("llama-2-7b", "--gpu", "L4", "--concurrency", "0"), "concurrency is 0"),
        (("llama-2-7b", "--gpu", "L4", "--dtype", "int3"), "dtype 'int3' is not known"),
        (("llama-2-7b", "--gpu", "L4", "--quantize", "awq"), "engine transformers, vllm does"),
        (("llama-2-7b", "--ram", "64", "--engine", "vllm"), "needs a GPU"),
        (("llama-2-7b", "--ram", "-1"), "'-1' is no size"),
        (("llama-2-7b", "--ram", "0"), "above 0"),
        (("llama-2-7b", "--gpu", "L4", "--memory-fraction", "2"), "memory_fraction is 2"),
    ],
)
def test_a_wrong_question_exits_2_and_says_what_would_be_right(
    arguments: tuple[str, ...], message: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_json_has_every_term() -> None:
    result = run("llama-2-13b-chat", "--sku", "Standard_NC12s_v3", "--json")
    answer = json.loads(result.output)
    assert answer["model"] == "llama-2-13b-chat"
    assert answer["tensor"] == 2
    names = {term["name"] for term in answer["terms"]}
    assert {
        "weights",
        "kv cache",
        "activations",
        "logits",
        "runtime overhead",
        "load transient",
        "host memory",
        "/dev/shm",
        "disk",
    } <= names
    assert answer["need_bytes_low"] <= answer["need_bytes"] <= answer["need_bytes_high"]
    assert result.exit_code == (0 if answer["accepted"] else 1)


def test_all_instance_types_of_a_cloud_by_size() -> None:
    result = run("phi-4", "--all-skus", "--cloud", "aws", "--context", "4096")
    assert result.exit_code == 0
    assert "g6.12xlarge" in result.output
    assert "Standard_" not in result.output
    small, large = result.output.index("g6.xlarge"), result.output.index("p5.48xlarge")
    assert small < large


def test_all_instance_types_as_json() -> None:
    answers = json.loads(run("llama-2-7b", "--all-skus", "--json").output)
    assert len(answers) > 100
    assert {answer["outcome"] for answer in answers} == {"fits", "fits with less", "does not fit"}
    kinds = [answer["device_kind"] for answer in answers]
    assert kinds == sorted(kinds, reverse=True)  # GPUs first


def test_nothing_that_fits_exits_1() -> None:
    result = run("llama-2-70b", "--all-skus", "--cloud", "azure", "--context", "4096",
                 "--concurrency", "4000")  # fmt: skip
    assert result.exit_code == 1


def test_a_cpu_node_and_a_folder(tmp_path: Path) -> None:
    write_hf(tmp_path / "tiny", tiny_config())
    result = run(str(tmp_path / "tiny"), "--ram", "2")
    assert result.exit_code == 0, result.output
    assert "tiny fits on 2 GiB of memory (native" in result.output
    assert "rank 0" in result.output


def test_a_degree_that_does_not_divide_is_told() -> None:
    result = run("qwen2.5-coder-7b-instruct", "--sku", "g5.48xlarge", "--tensor", "8")
    assert result.exit_code == 1
    assert "28 heads are not divisible by tensor-parallel degree 8" in result.output
    assert "It would fit with tensor-parallel degree" in result.output


def test_idle_gpus_are_drawn_as_idle() -> None:
    result = run("qwen2.5-coder-7b-instruct", "--sku", "g5.48xlarge", "--engine", "native")
    assert result.output.count("| not used") == 4


def test_the_built_in_model_fits_nearly_anywhere() -> None:
    assert run("pocket", "--ram", "1").exit_code == 0


def test_a_model_that_no_engine_serves_is_weighed_and_does_not_pass() -> None:
    done = run("kimi-k2.6", "--sku", "p5en.48xlarge")
    assert done.exit_code == 1
    assert done.output.startswith("Berth has no engine for kimi-k2.6. What vllm would take:")
    assert "note: no engine of Berth runs it: " in done.output
    asked = run("kimi-k2.6", "--sku", "p5en.48xlarge", "--engine", "vllm")
    assert asked.output.startswith("kimi-k2.6 ")


def test_a_cloud_is_known_in_capitals_too_as_instance_types_are() -> None:
    asked = ("pocket", "--all-skus", "--json", "--cloud")
    told = run(*asked, "AWS")
    assert told.exit_code == 0
    assert told.stdout == run(*asked, "aws").stdout
