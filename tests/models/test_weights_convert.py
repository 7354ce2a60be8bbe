"""From one layout to the other and back, nothing changes: not a bit, not a number."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from berth.checkpoint.config import ModelConfig, RopeScaling
from berth.checkpoint.errors import ConfigError
from berth.models.weights.convert import (
    convert_hf_to_meta,
    convert_meta_to_hf,
    rotary_halves,
    rotary_pairs,
)
from berth.models.weights.digests import NAME, known_digests, write_digests
from berth.models.weights.folder import open_weights
from berth.models.weights.names import EMBEDDING, HEAD, tensor_shapes
from berth.models.weights.source import WeightError
from models.checkpoints import random_tensors, save_transformers, tiny_config, write_hf, write_meta


def contents(folder: Path) -> dict[str, torch.Tensor]:
    source = open_weights(folder)
    source.check(tensor_shapes(source.config))
    return {name: source.read(name).clone() for name in tensor_shapes(source.config)}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert list(one) == list(other)
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype, name
        assert tensor.view(torch.uint8).equal(other[name].view(torch.uint8)), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("shards", "back"), [(1, 1), (2, 4), (4, 1)])
def test_meta_to_hugging_face_and_back_is_bit_exact(
    shards: int, back: int, dtype: str, tmp_path: Path
) -> None:
    config = tiny_config(rope_interleaved=True, dtype=dtype)
    tensors = write_meta(tmp_path / "meta", config, shards=shards)
    convert_meta_to_hf(tmp_path / "meta", tmp_path / "hf", max_file_bytes=60_000)
    assert len(list((tmp_path / "hf").glob("*.safetensors"))) > 1
    convert_hf_to_meta(tmp_path / "hf", tmp_path / "again", shards=back)
    assert len(list((tmp_path / "again").glob("*.pth"))) == back
    assert_same(contents(tmp_path / "again"), tensors)
    assert open_weights(tmp_path / "again").config == config


@pytest.mark.parametrize(
    "config",
    [
        tiny_config(),
        tiny_config(tie_embeddings=True, eos_ids=(2, 7), max_position=300),
        tiny_config(architecture="mistral", windows=(6, 6), head_dim=16),
        tiny_config(rope_theta=500000.0, rope_scaling=RopeScaling(kind="llama3", factor=32.0)),
        tiny_config(vocab_size=128_000, hidden_size=16, head_dim=2, num_layers=1),
    ],
    ids=["plain", "tied", "mistral", "llama3", "vocabulary-sharded"],
)
def test_hugging_face_to_meta_and_back_is_bit_exact(config: ModelConfig, tmp_path: Path) -> None:
    tensors = write_hf(tmp_path / "hf", config)
    convert_hf_to_meta(tmp_path / "hf", tmp_path / "meta", shards=2)
    convert_meta_to_hf(tmp_path / "meta", tmp_path / "again")
    assert_same(contents(tmp_path / "again"), tensors)
    assert open_weights(tmp_path / "again").config == config


def test_metas_embedding_is_divided_as_its_generation_does(tmp_path: Path) -> None:
    for vocabulary, shape in ((96, (96, 8)), (128_000, (64_000, 16))):
        config = tiny_config(vocab_size=vocabulary, hidden_size=16, head_dim=2, num_layers=1)
        write_hf(tmp_path / f"hf-{vocabulary}", config)
        folder = tmp_path / f"meta-{vocabulary}"
        convert_hf_to_meta(tmp_path / f"hf-{vocabulary}", folder, shards=2)
        state = torch.load(folder / "consolidated.01.pth", weights_only=True)
        assert state["tok_embeddings.weight"].shape == shape


def test_rows_are_moved_from_pairs_to_halves() -> None:
    rows = torch.arange(16.0).view(16, 1)  # two heads of 8
    halves = rotary_halves(rows, 8).flatten().tolist()
    assert halves == [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15]
    assert rotary_pairs(rotary_halves(rows, 8), 8).equal(rows)


def meta_logits(
    tensors: dict[str, torch.Tensor], config: ModelConfig, ids: torch.Tensor
) -> torch.Tensor:
    """Meta's reference computation, with rotation of neighbouring pairs as complex numbers."""
    heads, kv_heads, dim = config.num_heads, config.num_kv_heads, config.head_dim
    length = ids.shape[0]
    frequencies = config.rope_theta ** -(torch.arange(0, dim, 2).float() / dim)
    angles = torch.outer(torch.arange(length).float(), frequencies)
    turns = torch.polar(torch.ones_like(angles), angles)[:, None]

    def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x * (x.pow(2).mean(-1, keepdim=True) + config.norm_eps).rsqrt() * weight

    def rotated(x: torch.Tensor) -> torch.Tensor:
        pairs = torch.view_as_complex(x.view(length, -1, dim // 2, 2).contiguous())
        return torch.view_as_real(pairs * turns).flatten(2)

    x = tensors[EMBEDDING][ids]
    mask = torch.full((length, length), float("-inf")).triu(1)
    for index in range(config.num_layers):
        layer = {
            name.removeprefix(f"model.layers.{index}."): tensor for name, tensor in tensors.items()
        }
        h = norm(x, layer["input_layernorm.weight"])
        q = rotated(h @ layer["self_attn.q_proj.weight"].T)
        k = rotated(h @ layer["self_attn.k_proj.weight"].T)
        v = (h @ layer["self_attn.v_proj.weight"].T).view(length, kv_heads, dim)
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) / dim**0.5 + mask
        mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).flatten(1)
        x = x + mixed @ layer["self_attn.o_proj.weight"].T
        h = norm(x, layer["post_attention_layernorm.weight"])
        gate = torch.nn.functional.silu(h @ layer["mlp.gate_proj.weight"].T)
        up = h @ layer["mlp.up_proj.weight"].T
        x = x + (gate * up) @ layer["mlp.down_proj.weight"].T
    return norm(x, tensors["model.norm.weight"]) @ tensors[HEAD].T


def test_a_converted_model_is_the_same_in_transformers(tmp_path: Path) -> None:
    import transformers

    config = tiny_config(rope_interleaved=True, norm_eps=1e-5)
    tensors = write_meta(tmp_path / "meta", config, shards=2)
    convert_meta_to_hf(tmp_path / "meta", tmp_path / "hf")
    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "hf").eval()
    theirs = model.config
    assert theirs.vocab_size == config.vocab_size
    assert theirs.hidden_size == config.hidden_size
    assert theirs.intermediate_size == config.intermediate_size
    assert theirs.num_hidden_layers == config.num_layers
    assert theirs.num_attention_heads == config.num_heads
    assert theirs.num_key_value_heads == config.num_kv_heads
    assert theirs.head_dim == config.head_dim
    assert theirs.rms_norm_eps == config.norm_eps
    assert theirs.max_position_embeddings == config.max_position
    assert theirs.rope_parameters == {"rope_type": "default", "rope_theta": config.rope_theta}
    assert (theirs.bos_token_id, theirs.eos_token_id) == (1, 2)
    ids = torch.randint(0, 96, (17,), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        logits = model(ids[None]).logits[0]
    torch.testing.assert_close(logits, meta_logits(tensors, config, ids), rtol=0, atol=1e-4)


def test_llama_3s_scaling_reaches_transformers(tmp_path: Path) -> None:
    import transformers

    scaling = RopeScaling(kind="llama3", factor=8.0)
    config = tiny_config(rope_theta=500000.0, rope_scaling=scaling, max_position=131072)
    write_meta(tmp_path / "meta", config)
    assert "max_seq_len" not in json.loads((tmp_path / "meta/params.json").read_text())
    convert_meta_to_hf(tmp_path / "meta", tmp_path / "hf")
    theirs = transformers.AutoConfig.from_pretrained(tmp_path / "hf")
    assert theirs.max_position_embeddings == 131072
    assert theirs.rope_parameters == {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }


def test_written_pth_files_are_sound_archives(tmp_path: Path) -> None:
    tensors = write_hf(tmp_path / "hf", tiny_config())
    convert_hf_to_meta(tmp_path / "hf", tmp_path / "meta", shards=2)
    for path in sorted((tmp_path / "meta").glob("*.pth")):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None  # every checksum is that of the bytes
        # Read the ordinary way, without a mapping, as Meta's code does.
        state = torch.load(path, map_location="cpu", weights_only=True)
        assert state["norm.weight"].equal(tensors["model.norm.weight"])


def test_the_tokenizer_comes_along(tmp_path: Path) -> None:
    write_meta(tmp_path / "meta", tiny_config())
    (tmp_path / "meta/tokenizer.model").write_bytes(b"pieces")
    convert_meta_to_hf(tmp_path / "meta", tmp_path / "hf")
    assert (tmp_path / "hf/tokenizer.model").read_bytes() == b"pieces"
    (tmp_path / "hf/tokenizer.model").rename(tmp_path / "hf/tokenizer.json")
    convert_hf_to_meta(tmp_path / "hf", tmp_path / "again")
    assert (tmp_path / "again/tokenizer.json").read_bytes() == b"pieces"
    assert not (tmp_path / "again/tokenizer.model").exists()


def test_what_metas_layout_cannot_hold_is_refused_and_nothing_written(tmp_path: Path) -> None:
    for architecture, said in (("qwen2", "qwen2"), ("qwen3", "qwen3")):
        save_transformers(tmp_path / architecture, architecture)
        with pytest.raises(ConfigError, match=f"cannot express the architecture {said}"):
            convert_hf_to_meta(tmp_path / architecture, tmp_path / "out")
    write_hf(tmp_path / "hf", tiny_config())
    with pytest.raises(ConfigError, match=r"3 shards do not divide.*possible are 1, 2, 4"):
        convert_hf_to_meta(tmp_path / "hf", tmp_path / "out", shards=3)
    assert not (tmp_path / "out").exists()


def test_the_wrong_direction_and_a_full_destination_are_refused(tmp_path: Path) -> None:
    write_hf(tmp_path / "hf", tiny_config())
    with pytest.raises(ConfigError, match="not in Meta's layout"):
        convert_meta_to_hf(tmp_path / "hf", tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious").write_text("x")
    with pytest.raises(FileExistsError, match="is not empty"):
        convert_hf_to_meta(tmp_path / "hf", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_a_damaged_source_leaves_no_model_behind(tmp_path: Path) -> None:
    config = tiny_config()
    tensors = random_tensors(config)
    del tensors["model.norm.weight"]
    write_hf(tmp_path / "hf", config, tensors)
    with pytest.raises(WeightError, match=r"model\.norm\.weight"):
        convert_hf_to_meta(tmp_path / "hf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_tensors_in_both_layouts_differ_only_in_rotation(tmp_path: Path) -> None:
    config = tiny_config(rope_interleaved=True)
    tensors = write_meta(tmp_path / "meta", config)
    written = convert_meta_to_hf(tmp_path / "meta", tmp_path / "hf")
    assert written == replace(config, rope_interleaved=False)
    for name, tensor in contents(tmp_path / "hf").items():
        rotary = name.endswith(("q_proj.weight", "k_proj.weight"))
        assert tensor.equal(tensors[name]) is not rotary, name


@pytest.mark.parametrize("layout", ["meta", "hf"])
def test_a_damaged_source_ends_the_conversion_and_leaves_no_model(
    layout: str, tmp_path: Path
) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    if layout == "meta":
        write_meta(src, tiny_config())
        file, configuration = src / "consolidated.00.pth", "config.json"
    else:
        write_hf(src, tiny_config())
        file, configuration = src / "model.safetensors", "params.json"
        write_digests(src, [file.name])
    whole = file.read_bytes()
    file.write_bytes(whole[:200_000] + bytes([whole[200_000] ^ 8]) + whole[200_001:])
    with pytest.raises(WeightError, match="its bytes are damaged"):
        (convert_meta_to_hf if layout == "meta" else convert_hf_to_meta)(src, dst)
    assert not (dst / configuration).exists()


def test_what_was_converted_to_hugging_faces_layout_has_digests(tmp_path: Path) -> None:
    write_meta(tmp_path / "src", tiny_config())
    convert_meta_to_hf(tmp_path / "src", tmp_path / "dst")
    (digest,) = known_digests(tmp_path / "dst").values()
    assert digest.source == NAME
    assert "model.norm.weight" in digest.tensors
