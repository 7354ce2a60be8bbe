"""What a folder is refused for, serve, fit, check and convert say in the same sentence, with 2."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from berth.cli.main import main
from models.checkpoints import random_tensors, tiny_config, write_hf, write_meta
from serving.tiny_model import VOCAB, byte_level_tokenizer

_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = tiny_config(vocab_size=VOCAB)
    write_hf(tmp_path / "m", config, random_tensors(config, seed=1), files=2)
    byte_level_tokenizer().save(str(tmp_path / "m" / "tokenizer.json"))
    return tmp_path / "m"


def said(command: str, folder: Path, *more: str) -> str:
    """The one sentence with which a command refuses a folder."""
    arguments = {
        "serve": ["--port", "0"],
        "fit": ["--ram", "8"],
        "check": ["--cpu"],
        "convert": [str(folder.parent / "target")],
        "verify": [],
    }[command]
    done = CliRunner().invoke(main, [command, str(folder), *arguments, *more])
    assert done.exit_code == 2, done.output
    before, _, sentence = done.output.partition("Error: ")
    assert "engine" not in before
    assert "Traceback" not in done.output
    return " ".join(sentence.split())


def change(folder: Path, **keys: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


def only(folder: Path, *kept: str, **added: Any) -> None:
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
    for name, content in added.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)


def reindex(folder: Path, change: Callable[[dict[str, str]], Any]) -> None:
    content = json.loads((folder / INDEX).read_text())
    content["weight_map"] = change(content["weight_map"])
    (folder / INDEX).write_text(json.dumps(content))


def cut(folder: Path) -> None:
    file = next(iter(sorted(folder.glob("*.safetensors"))))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


FOLDERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda f: only(f), "is no model folder"),
    "pointer config": (lambda f: (f / "config.json").write_text(_POINTER), "pointer of git-lfs"),
    "pointer tokenizer": (
        lambda f: (f / "tokenizer.json").write_text(_POINTER), "tokenizer.json is a pointer of gi"
    ),
    "pointer index": (lambda f: (f / INDEX).write_text(_POINTER), "is a pointer of git-lfs"),
    "gguf": (lambda f: only(f, "config.json", m__gguf=b"GGUF"), "holds its weights only as GGUF"),
    "pickle": (lambda f: only(f, "config.json", pytorch_model__bin=b"x"), "a pickle, which could"),
    "onnx": (lambda f: only(f, "config.json", model__onnx=b"x"), "ONNX's format"),
    "adapter": (
        lambda f: only(
            f, "tokenizer.json",
            adapter_config__json='{"base_model_name_or_path": "org/base"}',
            adapter_model__safetensors=b"x",
        ),
        "is an adapter (LoRA) of org/base",
    ),
    "encoder": (
        lambda f: change(f, model_type="bert", architectures=["BertModel"]), "is an encoder (Bert"
    ),
    "embeddings": (
        lambda f: (f / "modules.json").write_text('[{"type": "sentence_transformers.models.P"}]'),
        "is an embedding model of sentence-transformers",
    ),
    "vision": (
        lambda f: change(
            f, model_type="qwen2_vl", architectures=["Qwen2VLForConditionalGeneration"],
            vision_config={"depth": 2},
        ),
        "sees images (Qwen2VLForConditionalGeneration)",
    ),
    "classifier": (
        lambda f: change(f, architectures=["LlamaForSequenceClassification"]), "is a classifier"
    ),
    "gptq": (
        lambda f: change(f, quantization_config={"quant_method": "gptq", "bits": 4}),
        "is quantised with gptq, and what reads that is not installed",
    ),
    "awq": (lambda f: change(f, quantization_config={"quant_method": "awq"}), "with awq"),
    "bitsandbytes": (
        lambda f: change(f, quantization_config={"load_in_4bit": True}), "pip install bitsandbyt"
    ),
    "no config": (lambda f: (f / "config.json").unlink(), "and no config.json, which says"),
    "index outside": (
        lambda f: reindex(f, lambda m: {n: f"../{x}" for n, x in m.items()}),
        "a path outside of the folder",
    ),
    "index absolute": (
        lambda f: reindex(f, lambda m: {n: f"/models/{x}" for n, x in m.items()}),
        "a path outside of the folder",
    ),
    "index of a list": (lambda f: reindex(f, lambda m: list(m)), "weight_map must be an object"),
    "index of a missing file": (
        lambda f: (f / "model-00002-of-00002.safetensors").unlink(),
        f"lacks model-00002-of-00002.safetensors, which {INDEX} names",
    ),
    "gap without an index": (
        lambda f: only(f, "config.json", "tokenizer.json", "model-00002-of-00002.safetensors"),
        "lacks model-00001-of-00002.safetensors, which belongs to",
    ),
    "link": (
        lambda f: [(f / "config.json").unlink(), (f / "config.json").symlink_to("../blob")],
        "is a link to ../blob, which is not there",
    ),
    "folder for a file": (
        lambda f: [(f / "tokenizer.json").unlink(), (f / "tokenizer.json").mkdir()],
        "is a folder, and should be a file",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOLDERS)
def test_the_commands_refuse_a_folder_in_one_sentence(kind: str, folder: Path) -> None:
    spoil, sentence = FOLDERS[kind]
    spoil(folder)
    told = {command: said(command, folder) for command in ("serve", "fit", "check", "convert")}
    assert sentence in told["serve"]
    assert set(told.values()) == {told["serve"]}


@pytest.mark.parametrize("engine", ["native", "transformers"])
@pytest.mark.parametrize("kind", ["adapter", "encoder", "vision", "gguf", "pickle", "gptq"])
def test_an_engine_that_was_asked_for_changes_no_sentence(
    kind: str, engine: str, folder: Path
) -> None:
    spoil, sentence = FOLDERS[kind]
    spoil(folder)
    assert sentence in said("serve", folder, "--engine", engine)


def test_fit_and_check_say_that_a_file_is_cut_as_serve_does(folder: Path) -> None:
    cut(folder)
    told = {said(command, folder) for command in ("serve", "fit", "check")}
    (sentence,) = told
    assert ".safetensors: the file is truncated: it has" in sentence


@pytest.mark.parametrize("kind", ["empty", "pointer config", "adapter", "gguf", "index outside"])
def test_verify_refuses_what_has_no_files_to_verify(kind: str, folder: Path) -> None:
    spoil, sentence = FOLDERS[kind]
    spoil(folder)
    assert sentence in said("verify", folder)


@pytest.mark.parametrize("kind", ["encoder", "gptq", "vision"])
def test_verify_reads_the_bytes_of_a_model_that_is_not_served(kind: str, folder: Path) -> None:
    FOLDERS[kind][0](folder)
    done = CliRunner().invoke(main, ["verify", str(folder)])
    assert done.exit_code == 0, done.output


def rename(folder: Path, name: str) -> None:
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        save_file({name + n: t for n, t in tensors.items()}, file, metadata={"format": "pt"})
    reindex(folder, lambda m: {name + n: x for n, x in m.items()})


def test_convert_reads_what_a_wrapper_wrote(folder: Path) -> None:
    rename(folder, "_orig_mod.")
    target = folder.parent / "meta"
    done = CliRunner().invoke(main, ["convert", str(folder), str(target)])
    assert done.exit_code == 0, done.output
    state = torch.load(target / "consolidated.00.pth", weights_only=True)
    want = random_tensors(tiny_config(vocab_size=VOCAB), seed=1)
    assert torch.equal(state["norm.weight"], want["model.norm.weight"])
    assert torch.equal(state["output.weight"], want["lm_head.weight"])


def test_what_the_headers_tell_is_refused_before_an_engine(folder: Path) -> None:
    file = folder / "model-00001-of-00002.safetensors"
    tensors = load_file(file)
    added = {"model.layers.0.self_attn.q_proj.bias": torch.ones(64)}
    save_file(tensors | added, file)
    assert "config.json describes a model without this bias" in said("serve", folder)
    assert said("fit", folder) == said("check", folder) == said("serve", folder)
    save_file(tensors | {name: tensor * 0 for name, tensor in added.items()}, file)
    done = CliRunner().invoke(main, ["serve", str(folder), "--port", "-1"])
    assert "port must be" in done.output, "a bias of zeros was passed"
    save_file({n: t for n, t in tensors.items() if n != "model.embed_tokens.weight"}, file)
    assert said("serve", folder).startswith("model.embed_tokens.weight in model-00001-of-00002")


def test_a_folders_own_code_is_refused_before_an_engine_unless_it_is_trusted(
    folder: Path,
) -> None:
    code = {"AutoModelForCausalLM": "modeling.OwnForCausalLM"}
    change(folder, model_type="own", architectures=["OwnForCausalLM"], auto_map=code)
    assert "(model_type 'own') brings its own Python code" in said("serve", folder)
    done = CliRunner().invoke(main, ["serve", str(folder), "--trust-remote-code", "--port", "-1"])
    assert "port must be" in done.output, "it was passed"


def test_a_file_where_a_folder_is_expected(folder: Path) -> None:
    file = folder / "model-00001-of-00002.safetensors"
    assert "is one file, not a folder of a model; name the folder" in said("serve", file)
    assert said("fit", file) == said("check", file) == said("serve", file)
    gguf = folder / "m.gguf"
    gguf.write_bytes(b"GGUF")
    assert "GGUF" in said("serve", gguf)


@pytest.mark.parametrize("command", ["serve", "fit", "check", "verify"])
def test_a_folder_that_this_user_may_not_look_into_is_named(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel says it; a test that runs as root is refused nothing."""
    found: Callable[..., Any] = Path.stat

    def refusing(path: Path, **options: Any) -> Any:
        if path == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return found(path, **options)

    monkeypatch.setattr(Path, "stat", refusing)
    assert said(command, folder).startswith(f"{folder} cannot be read: Permission denied; let the")
    if command == "serve":
        more = said(command, Path("llama-2-7b"), "--weights", str(folder))
        assert "cannot be read: Permission denied" in more


def test_no_tokenizer_is_refused_before_an_engine(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert "has no tokenizer.model and no tokenizer.json; put" in said("serve", folder)
    assert "has no tokenizer.model" in said("serve", folder, "--engine", "transformers")


@pytest.mark.parametrize("weights", ["meta", "hf", "both"])
def test_two_layouts_in_one_folder_are_read_as_one_by_everything(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from berth.cli import serve as command
    from serving.tiny_model import sentencepiece_model

    folder = tmp_path / "m"
    config = tiny_config(vocab_size=VOCAB)
    tensors = random_tensors(config, seed=1)
    write_meta(folder, config, tensors)
    write_hf(folder, config, tensors)
    if weights == "meta":
        (folder / "model.safetensors").unlink()
    if weights == "hf":
        (folder / "consolidated.00.pth").unlink()
    (folder / "tokenizer.model").write_bytes(sentencepiece_model())
    byte_level_tokenizer().save(str(folder / "tokenizer.json"))
    seen: list[Any] = []

    async def served(serving: Any, *_: Any) -> int:
        seen.append(serving)
        return 0

    monkeypatch.setattr(command, "_serve", served)
    done = CliRunner().invoke(main, ["serve", str(folder)])
    assert done.exit_code == 0, done.output
    (serving,) = seen
    is_meta = weights == "meta"
    assert serving.template.name == ("llama-2" if is_meta else "plain")
    assert type(serving.tokenizer).__name__ == (
        "SentencePieceTokenizer" if is_meta else "HuggingFaceTokenizer"
    )
    assert serving.engine.engine == "native"
    model = command._model(serving, command.Metrics().of("m"))
    assert model.generates != is_meta
    done = CliRunner().invoke(main, ["fit", str(folder), "--ram", "8", "--json"])
    assert done.exit_code == 0, done.output
