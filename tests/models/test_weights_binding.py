"""Tensors are found under the names of whatever the model was saved from, by both engines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from berth.checkpoint.choose import engine_for
from berth.checkpoint.folder import describe, load_config
from berth.engines.transformers.loading import load_model
from berth.models.weights.binding import bind, complaint, is_harmless, unwrapped
from berth.models.weights.folder import open_weights
from berth.models.weights.names import tensor_shapes
from berth.models.weights.source import WeightError
from berth.protocol.config import EngineConfig
from engines.native.harness import Engine, random_prompt
from models.checkpoints import save_transformers, tiny_config, write_meta

Tensors = dict[str, torch.Tensor]
PROMPT = random_prompt(1, 20)


def copy(source: Path, folder: Path, change: Callable[[Tensors], Tensors]) -> Path:
    """The model of `source` with its tensors changed."""
    folder.mkdir()
    (folder / "config.json").write_bytes((source / "config.json").read_bytes())
    tensors = change(load_file(source / "model.safetensors"))
    save_file({name: tensor.clone() for name, tensor in tensors.items()},
              folder / "model.safetensors", metadata={"format": "pt"})  # fmt: skip
    return folder


def native(folder: Path) -> torch.Tensor:
    source = open_weights(folder)
    source.check(tensor_shapes(source.config))
    source.close()
    engine = Engine(folder)
    request = engine.submit(PROMPT, max_tokens=1)
    engine.drain()
    return engine.logits(request)[0]


def transformers(folder: Path) -> torch.Tensor:
    config = EngineConfig(model=str(folder), socket="", dtype="float32", device="cpu")
    model = load_model(config, lambda done, total: None)
    with torch.inference_mode():
        return model(torch.tensor([PROMPT])).logits[0, -1]


def put_before(prefix: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()}


def bare(tensors: Tensors) -> Tensors:
    """As the base class alone writes them; a head keeps its name."""
    return {
        name.removeprefix("model.").removeprefix("transformer."): tensor
        for name, tensor in tensors.items()
    }


def within(tensors: Tensors) -> Tensors:
    """As a compiled or checkpointed layer inside the model writes them."""
    return {
        name.replace(".0.", ".0._orig_mod.").replace(".1.", ".1._checkpoint_wrapped_module."): t
        for name, t in tensors.items()
    }


def half(tensors: Tensors) -> Tensors:
    return {
        f"_orig_mod.{name}" if index % 2 else name: tensor
        for index, (name, tensor) in enumerate(sorted(tensors.items()))
    }


FORMS: dict[str, Callable[[Tensors], Tensors]] = {
    "compiled": put_before("_orig_mod."),
    "ddp": put_before("module."),
    "peft": put_before("base_model.model."),
    "ddp of compiled": put_before("module._orig_mod."),
    "compiled ddp": put_before("_orig_mod.module."),
    "compiled peft": put_before("_orig_mod.base_model.model."),
    "trl": put_before("pretrained_model."),
    "fsdp": put_before("_fsdp_wrapped_module."),
    "within": within,
    "half": half,
    "base class": bare,
    "compiled base class": lambda tensors: put_before("_orig_mod.")(bare(tensors)),
}
MODELS = [("llama", True), ("llama", False), ("falcon", True), ("falcon", False)]
# Of the others only what goes by the names of their base class.
OTHERS = [("mistral", False), ("qwen2", True), ("qwen3", False), ("gemma2", True),
          ("gemma3_text", True), ("phi3", False)]  # fmt: skip
CASES = [
    *((model, form) for model in MODELS for form in FORMS),
    *((model, form) for model in OTHERS for form in ("compiled peft", "base class")),
]


@pytest.fixture(scope="module", params=MODELS, ids=str)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "clean"
    architecture, tied = request.param
    save_transformers(folder, architecture, tie_word_embeddings=tied)
    return folder


@pytest.mark.parametrize(("saved", "form"), CASES, indirect=["saved"], ids=str)
def test_both_engines_compute_the_same_whatever_the_model_was_saved_from(
    form: str, saved: Path, tmp_path: Path
) -> None:
    folder = copy(saved, tmp_path / "m", FORMS[form])
    want = transformers(saved)
    torch.testing.assert_close(native(folder), want, rtol=0, atol=1e-5)
    torch.testing.assert_close(transformers(folder), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("prefix", ["language_model.", "backbone.", "a.b.model."])
def test_any_other_prefix_is_read_if_all_tensors_have_it(
    prefix: str, saved: Path, tmp_path: Path
) -> None:
    want = transformers(saved)
    for number, form in enumerate((put_before(prefix), lambda t: put_before(prefix)(bare(t)))):
        folder = copy(saved, tmp_path / str(number), form)
        torch.testing.assert_close(native(folder), want, rtol=0, atol=1e-5)
        torch.testing.assert_close(transformers(folder), want, rtol=0, atol=1e-5)


def test_with_and_without_the_bases_prefix_is_twice(saved: Path, tmp_path: Path) -> None:
    """transformers would take either."""

    def twice(tensors: Tensors) -> Tensors:
        name = next(name for name in tensors if name.endswith("input_layernorm.weight"))
        return tensors | {name.partition(".")[2]: tensors[name] * 2}

    folder = copy(saved, tmp_path / "m", twice)
    for load in (native, transformers):
        with pytest.raises(WeightError, match="which one is meant"):
            load(folder)


def test_a_base_class_without_a_head_serves_if_the_head_is_tied(
    saved: Path, tmp_path: Path
) -> None:
    without = lambda tensors: {n: t for n, t in bare(tensors).items() if n != "lm_head.weight"}  # noqa: E731
    folder = copy(saved, tmp_path / "m", without)
    if load_config(saved).tie_embeddings:
        torch.testing.assert_close(native(folder), transformers(saved), rtol=0, atol=1e-5)
        torch.testing.assert_close(transformers(folder), transformers(saved), rtol=0, atol=1e-5)
    else:
        for load in (native, transformers):
            with pytest.raises((WeightError, ValueError), match=r"lm_head\.weight"):
                load(folder)


@pytest.mark.parametrize(
    "architecture",
    ["llama", "mistral", "qwen2", "qwen3", "falcon", "gemma2", "gemma3_text", "phi3"],
)
def test_a_base_class_saved_alone_is_the_native_engines_if_its_head_is_tied(
    architecture: str, tmp_path: Path
) -> None:
    model = save_transformers(tmp_path / "whole", architecture, tie_word_embeddings=True)
    model.base_model.save_pretrained(tmp_path / "base")
    names = json.loads((tmp_path / "base" / "config.json").read_text())["architectures"]
    assert names[0].endswith("Model")
    assert engine_for(describe(tmp_path / "base")).engine == "native"
    torch.testing.assert_close(
        native(tmp_path / "base"), transformers(tmp_path / "whole"), rtol=0, atol=1e-5
    )


def test_a_wrappers_names_in_metas_layout(tmp_path: Path) -> None:
    config = tiny_config()
    tensors = write_meta(tmp_path / "clean", config, shards=2)
    write_meta(tmp_path / "m", config, tensors, shards=2)
    for path in (tmp_path / "m").glob("*.pth"):
        state = torch.load(path, weights_only=True)
        torch.save({f"module._orig_mod.{name}": tensor for name, tensor in state.items()}, path)
    source = open_weights(tmp_path / "m")
    source.check(tensor_shapes(source.config))
    for name, tensor in tensors.items():
        assert source.read(name).equal(tensor)
        source.release(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("layers.0.attention.wq.bias", "params.json describes does not use it"),
        ("layers.2.attention_norm.weight", "params.json gives the model 2 layers (n_layers)"),
        ("layers.0.attention.wq.lora_A.weight", "not merged"),
    ],
)
def test_a_tensor_of_metas_that_nothing_uses_is_named(name: str, said: str, tmp_path: Path) -> None:
    write_meta(tmp_path, tiny_config())
    path = tmp_path / "consolidated.00.pth"
    torch.save(torch.load(path, weights_only=True) | {name: torch.ones(64)}, path)
    source = open_weights(tmp_path)
    with pytest.raises(WeightError) as caught:
        source.check(tensor_shapes(source.config))
    assert (caught.value.tensor, caught.value.file) == (name, path.name)
    assert said in caught.value.reason


def test_two_tensors_for_one_are_refused_by_both_engines(saved: Path, tmp_path: Path) -> None:
    def twice(tensors: Tensors) -> Tensors:
        name = next(name for name in tensors if name.endswith("input_layernorm.weight"))
        return tensors | {f"_orig_mod.{name}": tensors[name] * 2}

    folder = copy(saved, tmp_path / "m", twice)
    for load in (native, transformers):
        with pytest.raises(WeightError, match=r"_orig_mod\..* are both .* which one is meant"):
            load(folder)


BUFFERS: dict[str, torch.Tensor] = {
    "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
    "model.rotary_emb.inv_freq": torch.ones(4),
    "model.layers.0.self_attn.masked_bias": torch.tensor(-1e9),
    "model.layers.1.self_attn.bias": torch.ones(1, 1, 8, 8, dtype=torch.bool),
    "model.norm.num_batches_tracked": torch.tensor(3),
    "model.embeddings.position_ids": torch.arange(8)[None],
    "v_head.summary.weight": torch.ones(1, 64),
}


def test_buffers_and_heads_that_make_no_text_do_no_harm(tmp_path: Path) -> None:
    save_transformers(tmp_path / "clean", "llama")
    folder = copy(tmp_path / "clean", tmp_path / "m", lambda tensors: tensors | BUFFERS)
    want = transformers(tmp_path / "clean")
    torch.testing.assert_close(native(folder), want, rtol=0, atol=1e-5)
    torch.testing.assert_close(transformers(folder), want, rtol=0, atol=1e-5)


UNUSED: dict[str, tuple[torch.Tensor, str]] = {
    "model.layers.0.self_attn.q_proj.bias": (torch.ones(64), "without this bias"),
    "model.layers.0.mlp.up_proj.bias": (torch.ones(176), "without this bias"),
    "model.layers.0.self_attn.q_norm.weight": (torch.ones(8), "does not use it"),
    "model.layers.0.self_attn.q_proj.lora_A.default.weight": (torch.ones(2, 64), "not merged"),
    "model.layers.0.mlp.up_proj.weight_scale": (torch.ones(1), "quantised weights"),
    "model.layers.2.input_layernorm.weight": (torch.ones(64), ""),
    "model.something.weight": (torch.ones(64), "does not use it"),
}


@pytest.mark.parametrize("name", UNUSED)
def test_weights_that_would_change_the_answers_are_not_left_out_in_silence(
    name: str, tmp_path: Path
) -> None:
    """transformers drops them with a warning."""
    save_transformers(tmp_path / "clean", "llama")
    tensor, said = UNUSED[name]
    folder = copy(tmp_path / "clean", tmp_path / "m", lambda tensors: tensors | {name: tensor})
    for load in (native, transformers):
        with pytest.raises(WeightError) as caught:
            load(folder)
        assert caught.value.tensor == name
        assert caught.value.file == "model.safetensors"
        assert said in caught.value.reason


def test_a_layer_beyond_the_last_is_named_with_the_number_of_layers() -> None:
    said = complaint("model.layers.2.input_layernorm.weight", tiny_config())
    assert "config.json gives the model 2 layers (num_hidden_layers)" in said


def test_a_bias_of_zeros_changes_nothing(tmp_path: Path) -> None:
    save_transformers(tmp_path / "clean", "llama")
    name = "model.layers.0.self_attn.q_proj.bias"
    zero = {name: torch.zeros(64)}
    folder = copy(tmp_path / "clean", tmp_path / "m", lambda tensors: tensors | zero)
    want = transformers(tmp_path / "clean")
    torch.testing.assert_close(native(folder), want, rtol=0, atol=1e-5)
    torch.testing.assert_close(transformers(folder), want, rtol=0, atol=1e-5)


def test_names_of_the_models_own_stay_as_they_are() -> None:
    config = tiny_config()
    names = dict.fromkeys(tensor_shapes(config), "f")
    assert bind(names, config) == {name: name for name in names}
    for name in names:
        assert unwrapped(name) == name
        assert not is_harmless(name)


def index_of(folder: Path) -> Any:
    return json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]


def split(saved: Path, folder: Path, files: int = 3) -> Path:
    """The same model in several files, with an index."""
    folder.mkdir()
    (folder / "config.json").write_bytes((saved / "config.json").read_bytes())
    tensors = load_file(saved / "model.safetensors")
    where = {
        name: f"model-{n % files + 1:05d}-of-{files:05d}.safetensors"
        for n, name in enumerate(tensors)
    }
    for file in set(where.values()):
        part = {name: tensor for name, tensor in tensors.items() if where[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return folder


def rewrite(folder: Path, change: Callable[[dict[str, str]], dict[str, str]]) -> Path:
    content = {"metadata": {}, "weight_map": change(index_of(folder))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama") / "clean"
    save_transformers(folder, "llama")
    return folder


NORM = "model.norm.weight"
INDEXES: dict[str, Callable[[Path], object]] = {
    "without metadata": lambda folder: None,
    "with ./": lambda folder: rewrite(folder, lambda m: {n: f"./{f}" for n, f in m.items()}),
    "that leaves a tensor out": lambda folder: rewrite(
        folder, lambda m: {n: f for n, f in m.items() if "layers.1.mlp" not in n}
    ),
    "that gives a tensor another of its files": lambda folder: rewrite(
        folder, lambda m: m | {NORM: min(set(m.values()) - {m[NORM]})}
    ),
    "that names a tensor which nothing needs": lambda folder: rewrite(
        folder, lambda m: m | {"model.rotary_emb.inv_freq": next(iter(m.values()))}
    ),
    "that there is not": lambda folder: (folder / "model.safetensors.index.json").unlink(),
}  # fmt: skip


@pytest.mark.parametrize("index", INDEXES)
def test_both_engines_read_several_files_with_an_index(
    index: str, llama: Path, tmp_path: Path
) -> None:
    folder = split(llama, tmp_path / "m")
    INDEXES[index](folder)
    want = transformers(llama)
    torch.testing.assert_close(native(folder), want, rtol=0, atol=1e-5)
    torch.testing.assert_close(transformers(folder), want, rtol=0, atol=1e-5)


def test_model_safetensors_wins_over_an_index_as_in_transformers(
    llama: Path, tmp_path: Path
) -> None:
    folder = split(llama, tmp_path / "m")
    other = {name: tensor * 1.5 for name, tensor in load_file(llama / "model.safetensors").items()}
    save_file(other, folder / "model.safetensors", metadata={"format": "pt"})
    torch.testing.assert_close(native(folder), transformers(folder), rtol=0, atol=1e-5)
    assert not torch.allclose(transformers(folder), transformers(llama), atol=1e-3)
