"""A folder's layout is recognised, and what is no model folder is refused with its content."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file

from berth.checkpoint.errors import ConfigError
from berth.checkpoint.folder import load_config
from berth.checkpoint.hf import to_hf
from berth.checkpoint.layout import folder_layout
from berth.models.weights.folder import open_weights
from berth.models.weights.names import meta_name
from models.checkpoints import random_tensors, tiny_config, write_hf, write_meta


def test_both_layouts_give_the_same_numbers(tmp_path: Path) -> None:
    config = tiny_config()
    write_hf(tmp_path / "hf", config)
    write_meta(tmp_path / "meta", config, shards=2)
    assert load_config(tmp_path / "hf") == config
    assert load_config(tmp_path / "meta") == tiny_config(rope_interleaved=True)


def test_the_vocabulary_of_llama_2_is_counted_in_the_weights(tmp_path: Path) -> None:
    for dim in (0, 1):
        folder = tmp_path / str(dim)
        write_meta(folder, tiny_config(vocab_size=128), shards=4, embedding_dim=dim)
        assert json.loads((folder / "params.json").read_text())["vocab_size"] == -1
        assert load_config(folder).vocab_size == 128


def test_generation_config_gives_the_end_tokens(tmp_path: Path) -> None:
    write_hf(tmp_path, tiny_config())
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 9]}')
    assert load_config(tmp_path).eos_ids == (2, 9)


def test_a_description_without_weights_is_enough_for_a_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(to_hf(tiny_config())))
    assert load_config(tmp_path) == tiny_config()


def test_where_both_layouts_are_described_the_weights_decide(tmp_path: Path) -> None:
    config = tiny_config()
    write_meta(tmp_path, config)
    (tmp_path / "config.json").write_text("{}")
    assert folder_layout(tmp_path) == "meta"
    write_hf(tmp_path, config)
    assert folder_layout(tmp_path) == "hf"


def test_consolidated_safetensors_beside_params_json_is_metas_layout(tmp_path: Path) -> None:
    config = tiny_config(architecture="mistral", windows=(6, 6))
    tensors = random_tensors(config)
    write_meta(tmp_path, config, tensors, vocab_in_params=True)
    (tmp_path / "consolidated.00.pth").unlink()
    renamed = {str(meta_name(name)): tensor for name, tensor in tensors.items()}
    save_file(renamed, tmp_path / "consolidated.safetensors")
    source = open_weights(tmp_path)
    assert source.config.windows == (6, 6)
    for name, tensor in tensors.items():
        assert source.read(name).equal(tensor)


def test_pickled_weights_are_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(to_hf(tiny_config())))
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"pytorch_model\.bin.*refused.*save_pretrained"):
        load_config(tmp_path)


def test_what_is_no_model_folder_is_refused_with_its_content(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it holds nothing"):
        load_config(tmp_path)
    for name in ("notes.txt", "other.txt"):
        (tmp_path / name).write_text("x")
    with pytest.raises(ConfigError, match=r"it holds notes\.txt, other\.txt"):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match="not a folder"):
        load_config(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not valid JSON"),
        (b"[1]", "JSON object, not a list"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
    ],
    ids=["cut", "list", "not-utf8", "deep"],
)
def test_a_malformed_config_json_is_refused_by_name(
    content: bytes, said: str, tmp_path: Path
) -> None:
    write_hf(tmp_path, tiny_config())
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"config\.json.*{said}"):
        load_config(tmp_path)


def test_reading_hugging_faces_config_imports_no_torch(tmp_path: Path) -> None:
    write_hf(tmp_path, tiny_config())
    code = (
        "import sys; from berth.checkpoint.folder import load_config; "
        f"print(load_config({str(tmp_path)!r}).vocab_size, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["96", "False"]
