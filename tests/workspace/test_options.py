"""A ConfigMap's options become the server's own flags, or a sentence that names the key."""

from __future__ import annotations

import click
import pytest

from berth.cli.serve import serve
from berth.workspace.options import OPTIONS, OURS, SYNONYMS, OptionError, read_options


def flags() -> dict[str, click.Option]:
    """Every long option of `berth serve`, by its name."""
    return {
        name.removeprefix("--").replace("_", "-"): option
        for option in serve.params
        if isinstance(option, click.Option)
        for name in option.opts
        if name.startswith("--")
    }


def test_every_option_is_one_of_the_server_s() -> None:
    known = flags()
    assert set(OPTIONS) <= set(known)
    assert set(known) >= OURS
    for name, kind in OPTIONS.items():
        assert known[name].is_flag == (kind == "flag"), name
        assert known[name].multiple == (kind == "texts"), name


def test_every_option_of_the_server_is_decided_by_somebody() -> None:
    """A new flag has to be put into one of the lists."""
    hidden = {"ckpt-dir", "tokenizer-path", "disable-trust-remote-code", "help"}
    assert set(flags()) - set(OPTIONS) - OURS - set(SYNONYMS) - hidden == set()


def test_synonyms_lead_to_options() -> None:
    assert set(SYNONYMS.values()) <= set(OPTIONS)
    assert not set(SYNONYMS) & set(OPTIONS)


@pytest.mark.parametrize("file", ["berth.yaml", "inference_config.yaml"])
@pytest.mark.parametrize("section", ["berth", "vllm"])
def test_options_in_a_section(file: str, section: str) -> None:
    found = read_options({file: f"{section}:\n  max-model-len: 2048\n  no_prefix_caching: true\n"})
    assert found.args == ("--max-model-len=2048", "--no-prefix-caching")
    assert found.context == 2048


def test_options_without_a_section() -> None:
    assert read_options({"berth.yaml": "max-num-seqs: 8"}).args == ("--max-num-seqs=8",)


def test_what_fit_has_to_know_is_told() -> None:
    found = read_options(
        {
            "inference_config.yaml": "vllm:\n  tensor-parallel-size: 4\n  dtype: float16\n"
            "  gpu-memory-utilization: 0.8\n"
        }
    )
    assert (found.degree, found.dtype, found.memory_fraction) == (4, "float16", 0.8)
    assert "--degree=4" not in found.args, "it follows from the nodes"
    assert "--memory-fraction=0.8" in found.args


def test_quantising_is_the_other_engine_s() -> None:
    found = read_options({"berth.yaml": "load-in-8bit: true"})
    assert (found.engine, found.quantize) == ("transformers", "int8")


def test_several_values_and_false() -> None:
    found = read_options({"berth.yaml": "alias: [a, b]\nallow-shutdown: false\n"})
    assert found.args == ("--alias=a", "--alias=b")


def test_an_empty_file_is_no_options() -> None:
    assert read_options({"berth.yaml": ""}).args == ()
    assert read_options({"berth.yaml": "vllm:\n"}).args == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("swap-space: 4", "swap-space is no option of the server"),
        ("max-model-lenn: 4", "did you mean max-model-len"),
        ("vllm:\n  max_probe_steps: 6", "max_probe_steps is no option"),
        ("max-model-len: many", "max-model-len should be a whole number"),
        ("max-model-len: true", "max-model-len should be a whole number"),
        ("max-model-len: 0", "max-model-len should be a whole number of at least 1"),
        ("allow-shutdown: yes please", "allow-shutdown should be true or false"),
        ("memory-fraction: 2", "memory-fraction should be between 0.05 and 1"),
        ("memory-fraction: .nan", "memory-fraction should be a number above 0"),
        ("dtype: int3", "dtype should be one of auto, float32"),
        ("engine: vllm", "engine should be one of auto, native, transformers"),
        ("alias: [1]", "alias should be a text, or a list of texts"),
        ("name: [x]", "name should be a text"),
        ("host: 0.0.0.0", "host is decided by Berth"),
        ("vllm:\n  port: 80", "port is decided by Berth"),
        ("degree: 2\ntensor-parallel-size: 2", "given twice"),
        ("load-in-8bit: true\nload-in-4bit: true", "exclude each other"),
        ("vllm: [1]", "vllm should be a map"),
        ("- a", "should be a map of options"),
        ("a: [", "is no YAML in line"),
        ("!!python/object/apply:os.system ['x']", "is no YAML"),
        ("[" * 5000, "is no YAML"),
        ("x: " + "y" * 70_000, "characters"),
    ],
)
def test_what_is_wrong_is_named(content: str, words: str) -> None:
    with pytest.raises(OptionError) as error:
        read_options({"inference_config.yaml": content})
    assert words in str(error.value)


def test_which_file() -> None:
    with pytest.raises(OptionError, match="should have the key"):
        read_options({"other.yaml": ""})
    with pytest.raises(OptionError, match="keep one of them"):
        read_options({"berth.yaml": "", "inference_config.yaml": ""})


@pytest.mark.parametrize(
    ("written", "args"),
    [
        ("max-model-len: auto", ()),
        ("max-model-len: -1", ()),
        ('max-model-len: "4096"', ("--max-model-len=4096",)),
        ('gpu_memory_utilization: "0.9"', ("--memory-fraction=0.9",)),
        ("dtype: half", ("--dtype=float16",)),
        ("dtype: BF16", ("--dtype=bfloat16",)),
        ("dtype: float", ("--dtype=float32",)),
        ("enable-prefix-caching: true", ()),
        ("enable_prefix_caching: false", ("--no-prefix-caching",)),
        ("no-enable-prefix-caching: true", ("--no-prefix-caching",)),
        ('enable-prefix-caching: "False"', ("--no-prefix-caching",)),
        ('no-prefix-caching: "true"', ("--no-prefix-caching",)),
        ("served-model-name: 7", ("--name=7",)),
    ],
)
def test_vllms_spellings_are_understood(written: str, args: tuple[str, ...]) -> None:
    for content in (written, f"vllm:\n  {written}\n"):
        assert read_options({"inference_config.yaml": content}).args == args


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("max-model-len: many", "max-model-len should be a whole number"),
        ('max-model-len: "40.5"', "max-model-len should be a whole number"),
        ("enable-prefix-caching: 3", "enable-prefix-caching should be true or false"),
        ("no-prefix-caching: true\nenable-prefix-caching: true", "is given twice"),
        ("dtype: int3", "should be one of auto"),
    ],
)
def test_a_spelling_that_says_nothing_is_still_refused(written: str, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        read_options({"inference_config.yaml": written})
