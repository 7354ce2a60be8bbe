"""The programs that run inside a build, where no build is needed to try them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from berth.cli.served_model import holds_files
from berth.models.weights.folder import open_weights
from berth.models.weights.source import WeightError
from berth.models.weights.verify import Verification, checks_for
from berth.presets.catalogue import load_presets
from e2e.berth_server import ROOT, free_port
from images.checkout import write_huggingface, write_meta

STEPS = ROOT / "docker/steps"
sys.path.insert(0, str(STEPS))
import find_weights  # noqa: E402
import install  # noqa: E402
import install_code  # noqa: E402
import slim  # noqa: E402
import verify_weights  # noqa: E402

CATALOGUE = ROOT / "presets/llama-2/preset.yaml"
FALCON = ROOT / "presets/falcon/preset.yaml"


@pytest.mark.parametrize(
    ("given", "catalogue", "name"),
    [
        ("llama-2-7b-chat", CATALOGUE, "llama-2-7b-chat"),
        ("LLAMA-2-7B", CATALOGUE, "llama-2-7b"),
        ("/llama/llama-2-13b", CATALOGUE, "llama-2-13b"),  # KAITO's LLAMA_WEIGHTS
        ("tiiuae/falcon-7b", FALCON, "falcon-7b"),  # KAITO's FALCON_MODEL_NAME
        ("falcon-40b-instruct", FALCON, "falcon-40b-instruct"),
        ("Qwen/Qwen3-8B", None, "Qwen/Qwen3-8B"),
    ],
)
def test_a_model_is_known_by_its_preset_its_hub_or_its_folder(
    given: str, catalogue: Path | None, name: str
) -> None:
    assert find_weights.named(given, "MODEL", catalogue) == name


def test_an_unknown_version_is_refused_with_the_known_ones() -> None:
    with pytest.raises(find_weights.NotThere, match=r"'llama-3'.*llama-2-7b, llama-2-7b-chat"):
        find_weights.named("llama-3", "LLAMA_VERSION", CATALOGUE)


def test_no_version_is_refused_with_an_example() -> None:
    with pytest.raises(find_weights.NotThere, match="--build-arg LLAMA_VERSION=llama-2-7b;"):
        find_weights.named("", "LLAMA_VERSION", CATALOGUE)


def test_an_empty_folder_is_refused_unless_none_was_asked_for(tmp_path: Path) -> None:
    there, weights = tmp_path / "there", tmp_path / "weights"
    weights.mkdir()
    (weights / find_weights.NOTE).touch()
    for version, files in (("llama-2-7b", ["weights.txt"]), ("llama-2-13b", ["params.json"])):
        (there / "llama" / version).mkdir(parents=True)
        for file in files:
            (there / "llama" / version / file).touch()
    said = r"no files in llama/x/ \(weights are in llama/llama-2-13b\)"
    with pytest.raises(find_weights.NotThere, match=said):
        find_weights.held(weights, "llama/x", there, "x")
    assert find_weights.held(weights, "docker/none", there, "x") == []


def test_a_folder_that_is_no_models_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.md").touch()
    with pytest.raises(find_weights.NotThere, match=r"it holds notes\.md"):
        find_weights.held(tmp_path, "llama/x", None, "x")


def test_the_models_that_need_no_download_are_those_whose_weights_the_catalogue_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install_code, "HERE", ROOT)
    made = install_code._built_in(Path(sys.executable), tmp_path / "built-in")
    own = [preset.weights for preset in load_presets().values() if preset.weights is not None]
    assert own
    copied = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    assert copied == {
        file.relative_to(ROOT / "presets") for folder in own for file in folder.iterdir()
    }


def test_a_folder_without_a_catalogue_entry_is_read_as_the_engine_reads_it(tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path / "weights")
    with pytest.raises(Exception, match=r"embed_tokens.*is missing"):  # it has one odd tensor
        verify_weights.verified(folder, "someone/something")


def test_another_models_weights_are_refused(tmp_path: Path) -> None:
    folder = write_meta(tmp_path / "weights")
    with pytest.raises(verify_weights.WeightsMissing, match="another model's"):
        verify_weights.verified(folder, "llama-2-7b-chat")


def test_pocket_is_found_whole() -> None:
    about = verify_weights.verified(ROOT / "presets/pocket/weights", "pocket")
    assert about["layout"] == "meta"
    assert isinstance(about["bytes"], int)
    assert about["bytes"] > 5_000_000


def step(tmp_path: Path, weights: Path, files: list[str], model: str = "pocket") -> int:
    """verify_weights.py as a build runs it; its exit code."""
    found = tmp_path / "found.json"
    found.write_text(json.dumps({"model": model, "files": files}))
    outs = (f"--out={tmp_path / 'out.json'}", f"--digests={tmp_path / 'berth-digests.json'}")
    command = [sys.executable, verify_weights.__file__, f"--weights={weights}", f"--found={found}"]
    return subprocess.run([*command, *outs], check=False, capture_output=True).returncode


def test_an_image_keeps_the_digests_of_what_went_into_it(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(ROOT / "presets/pocket/weights", weights)
    assert step(tmp_path, weights, sorted(path.name for path in weights.iterdir())) == 0
    digests = json.loads((tmp_path / "berth-digests.json").read_text())
    assert {"params.json", "tokenizer.model"} <= digests["files"].keys()
    shutil.copy(tmp_path / "berth-digests.json", weights)  # as the image has it
    with closing(open_weights(weights)) as source:
        with Verification(checks_for(weights, source.files, "full"), threads=1) as verifying:
            verifying.finish()
        (weights / "tokenizer.model").write_bytes(b"other")
        checks = checks_for(weights, source.files, "full")
    with (
        pytest.raises(WeightError, match=r"tokenizer\.model: it is damaged"),
        Verification(checks, threads=1) as verifying,
    ):
        verifying.finish()


def test_damaged_weights_go_into_no_image(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(ROOT / "presets/pocket/weights", weights)
    file = weights / "consolidated.00.pth"
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    assert step(tmp_path, weights, ["consolidated.00.pth"]) == 1


def test_an_image_without_weights_has_digests_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    assert step(tmp_path, tmp_path / "weights", []) == 0
    assert json.loads((tmp_path / "berth-digests.json").read_text())["files"] == {}
    assert not holds_files(tmp_path / "weights")
    shutil.copy(tmp_path / "berth-digests.json", tmp_path / "weights")
    assert not holds_files(tmp_path / "weights")


def test_extras_lead_to_extras() -> None:
    project = {
        "project": {
            "dependencies": ["click"],
            "optional-dependencies": {"engine": ["torch"], "more": ["berth[engine]", "accelerate"]},
        }
    }
    assert install.requirements(project, ["more"]) == ["accelerate", "click", "torch"]
    with pytest.raises(SystemExit, match=r"'fast'.*engine, more"):
        install.requirements(project, ["fast"])


def test_a_settled_tree_depends_on_neither_clock_nor_umask(tmp_path: Path) -> None:
    for name, mode in (("run", 0o700), ("read", 0o600)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("read")
    slim.settle([tmp_path])
    assert {(p.name, p.lstat().st_mtime) for p in tmp_path.iterdir()} == {
        ("run", 0.0),
        ("read", 0.0),
        ("link", 0.0),
    }
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "read").stat().st_mode & 0o777 == 0o644


def test_byte_code_is_the_same_whenever_it_is_made(tmp_path: Path) -> None:
    made = []
    for time in (1, 2):
        (tmp_path / "module.py").write_text("x = 1\n")
        os.utime(tmp_path / "module.py", (time, time))
        slim.compile_all([tmp_path])
        (compiled,) = tmp_path.rglob("*.pyc")
        made.append(compiled.read_bytes())
    assert made[0] == made[1]


def test_what_was_left_out_is_named_where_it_is_large(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("torch/include/a.h", "sympy/core.py", "torch/lib/libtorch_cpu.so"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(bytes(2_000_000))
    slim.trim(tmp_path, keep=["server", "engine", "transformers"])
    assert (tmp_path / "sympy").exists()
    slim.trim(tmp_path, keep=["server", "engine"])
    assert "left out torch/include: 2.0 MB" in capsys.readouterr().out
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["libtorch_cpu.so"]


def test_the_health_check_fails_where_nobody_listens() -> None:
    done = subprocess.run(
        [sys.executable, str(STEPS / "healthcheck.py")],
        env={**os.environ, "BERTH_PORT": str(free_port())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "refused" in done.stdout


def test_what_was_found_is_handed_on(tmp_path: Path) -> None:
    weights, out = tmp_path / "weights", tmp_path / "found.json"
    write_meta(weights)
    command = [sys.executable, str(STEPS / "find_weights.py"), "--weights", str(weights)]
    given = ["--argument", "MODEL_NAME", "--model", "a/b", "--folder", "models/a/b"]
    subprocess.run([*command, *given, "--out", str(out)], check=True, capture_output=True)
    assert json.loads(out.read_text())["model"] == "a/b"
