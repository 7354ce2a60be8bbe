"""What only the weights' files tell counts: their number format, and a head of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from berth.checkpoint.errors import ConfigError
from berth.checkpoint.folder import load_config, read_hf_json
from berth.checkpoint.hf import from_hf
from berth.checkpoint.stored import are_equal, stored_dtype, stored_tensors
from berth.engines.host.device import choose_dtype
from engines.native.harness import Engine, random_prompt
from models.checkpoints import save_transformers


def _edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value != "GONE"}))


@pytest.mark.parametrize("said", ["GONE", "auto", None])
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float32])
def test_the_files_say_the_number_format_where_config_json_does_not(
    tmp_path: Path, said: str | None, stored: torch.dtype
) -> None:
    save_transformers(tmp_path, "llama", dtype=stored)
    _edit(tmp_path, dtype=said, torch_dtype=said)
    name = str(stored).removeprefix("torch.")
    assert load_config(tmp_path).dtype == name
    assert choose_dtype("auto", name, torch.device("cuda")) == stored


def test_what_config_json_says_counts_before_the_files(tmp_path: Path) -> None:
    save_transformers(tmp_path, "llama", dtype=torch.float32)
    _edit(tmp_path, dtype="bfloat16")
    assert load_config(tmp_path).dtype == "bfloat16"


def test_most_bytes_decide(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(4, 4, dtype=torch.bfloat16), "b": torch.zeros(3)}
    save_file(tensors, tmp_path / "model.safetensors")
    assert stored_dtype(stored_tensors(tmp_path)) == "bfloat16"
    assert stored_dtype({}) is None


def test_a_torn_header_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    assert stored_tensors(tmp_path) == {}


def _tied_folder(folder: Path, *, own: bool) -> Any:
    reference = save_transformers(folder, "llama", seed=3, tie_word_embeddings=True)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    head = tensors["model.embed_tokens.weight"].clone()
    if own:
        head = torch.randn(head.shape, generator=torch.Generator().manual_seed(5)) * 0.1
    save_file({**tensors, "lm_head.weight": head}, file, metadata={"format": "pt"})
    return reference


@pytest.mark.parametrize("own", [True, False])
def test_a_head_of_its_own_beside_a_tied_flag_is_kept_if_it_differs(
    tmp_path: Path, own: bool
) -> None:
    """As transformers 5 keeps both where they differ: the logits are the same."""
    from transformers import AutoModelForCausalLM

    _tied_folder(tmp_path, own=own)
    assert load_config(tmp_path).tie_embeddings is not own
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    engine = Engine(tmp_path)
    prompt = random_prompt(1, 12)
    request = engine.submit(prompt, max_tokens=8)
    engine.drain()
    output = engine.tokens(request)
    with torch.inference_mode():
        want = reference(torch.tensor([prompt + output])).logits[0][len(prompt) - 1 : -1]
    torch.testing.assert_close(engine.logits(request), want, atol=1e-4, rtol=0)


def test_equal_tensors_are_told_from_different_ones(tmp_path: Path) -> None:
    same = torch.arange(12.0).reshape(3, 4)
    save_file({"a": same, "b": same + 0.5}, tmp_path / "1.safetensors")
    save_file({"c": same.clone(), "d": same.reshape(4, 3).clone()}, tmp_path / "2.safetensors")
    found = stored_tensors(tmp_path)
    assert are_equal(found["a"], found["c"])
    assert not are_equal(found["a"], found["b"])
    assert not are_equal(found["a"], found["d"]), "another shape is another tensor"


def test_a_mistral_file_with_kinds_of_layers_is_computed_as_ministral(tmp_path: Path) -> None:
    """transformers treats mistral with layer_types so; with every layer sliding logits differ."""
    from transformers import AutoModelForCausalLM

    save_transformers(tmp_path, "mistral", seed=4, num_hidden_layers=4)
    kinds = ["full_attention", "sliding_attention"] * 2
    _edit(tmp_path, layer_types=kinds, sliding_window=6)
    assert load_config(tmp_path).windows == (None, 6, None, 6)
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    engine = Engine(tmp_path)
    prompt = random_prompt(2, 30)
    request = engine.submit(prompt, max_tokens=8)
    engine.drain()
    output = engine.tokens(request)
    with torch.inference_mode():
        want = reference(torch.tensor([prompt + output])).logits[0][len(prompt) - 1 : -1]
    torch.testing.assert_close(engine.logits(request), want, atol=1e-4, rtol=0)


def test_kinds_of_layers_that_are_not_known_are_refused(tmp_path: Path) -> None:
    save_transformers(tmp_path, "mistral")
    config = read_hf_json(tmp_path) | {"layer_types": ["chunked_attention"] * 2}
    with pytest.raises(ConfigError, match="layer_types"):
        from_hf(config)
