"""berth build: everything that can be wrong is said before a tool starts, then the tool is seen.

The tools are small programs on PATH that write down how they were called.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from berth import __version__
from images.checkout import (
    Checkout,
    make_checkout,
    write_huggingface,
    write_meta,
    write_pulled,
)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = make_checkout(tmp_path)
    made.add_tool("docker")
    return made


def refusal(checkout: Checkout, *arguments: str, **environment: str) -> str:
    """What it says on one line when it refuses; nothing was built."""
    before = len(checkout.builds)
    done = checkout.berth_build(*arguments, **environment)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert len(checkout.builds) == before
    return " ".join(done.stderr.split())


def test_the_built_in_model_is_built_and_the_run_command_printed(checkout: Checkout) -> None:
    done = checkout.berth_build("pocket")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"docker run --rm -p 5000:5000 pocket:{__version__}\n"
    assert "STEP 1/1" in done.stderr  # the tool's progress, as it comes
    (build,) = checkout.builds
    assert build["tool"] == "docker"
    assert build["cwd"] == str(checkout.root)
    assert build["argv"] == [
        "build",
        *("--file", "presets/pocket/Dockerfile"),
        *("--tag", f"pocket:{__version__}"),
        *("--build-arg", "VARIANT=cpu"),
        *("--build-arg", "SOURCE_DATE_EPOCH=1700000000"),
        ".",
    ]


def test_weights_in_the_seeds_place_are_found_by_the_dockerfile(checkout: Checkout) -> None:
    write_meta(checkout.root / "llama" / "llama-2-7b-chat", 2)
    done = checkout.berth_build("llama-2-7b-chat", "--tag", "mine:7", "--base", "debian@sha256:1")
    assert done.returncode == 0, done.stderr
    (build,) = checkout.builds
    argv = build["argv"]
    assert "--build-context" not in argv
    for argument in (
        "LLAMA_VERSION=llama-2-7b-chat",
        "SRC_DIR=presets/llama-2-chat",
        "BASE_IMAGE=debian@sha256:1",
    ):
        assert argument in argv
    assert argv[argv.index("--tag") + 1] == "mine:7"


def test_weights_elsewhere_become_a_context_of_their_own(
    checkout: Checkout, tmp_path: Path
) -> None:
    folder = write_huggingface(tmp_path / "my weights", 2)
    done = checkout.berth_build("small-model", "--weights", str(folder))
    assert done.returncode == 0, done.stderr
    (build,) = checkout.builds
    assert f"weights={folder}" in build["argv"]
    assert "MODEL_NAME=small-model" in build["argv"]
    assert "model-00002-of-00002.safetensors" in build["sees"]


def test_links_in_the_seeds_place_are_followed(checkout: Checkout, tmp_path: Path) -> None:
    elsewhere = write_meta(tmp_path / "disk" / "llama-2-7b-chat")
    (checkout.root / "llama").mkdir()
    (checkout.root / "llama" / "llama-2-7b-chat").symlink_to(elsewhere)
    done = checkout.berth_build("llama-2-7b-chat")
    assert done.returncode == 0, done.stderr
    (build,) = checkout.builds
    assert build["sees"]["consolidated.00.pth"] is False


def test_pulled_weights_are_found_and_shown_as_plain_files(checkout: Checkout) -> None:
    write_pulled(checkout.cache, "someone/small")
    done = checkout.berth_build("small-model")
    assert done.returncode == 0, done.stderr
    (build,) = checkout.builds
    assert build["sees"] == {
        "config.json": False,
        "model.safetensors": False,
        "tokenizer.json": False,
    }
    assert not list(checkout.cache.rglob(".berth-build-*"))


def test_weights_may_be_left_out(checkout: Checkout) -> None:
    done = checkout.berth_build("small-model", "--no-weights", "--variant", "cuda")
    assert done.returncode == 0, done.stderr
    (build,) = checkout.builds
    assert "VARIANT=cuda" in build["argv"]
    assert "WEIGHTS=docker/none" in build["argv"]
    assert f"small-model:{__version__}-cuda-bare" in build["argv"]
    assert "--gpus all -v berth-cache:/cache small-model" in done.stdout
    done = checkout.berth_build("llama-2-7b-chat", "--no-weights")
    assert "-v berth-cache:/cache -e HF_TOKEN llama-2-7b-chat" in done.stdout


def test_a_tokeniser_beside_the_weights_reaches_the_image(
    checkout: Checkout, tmp_path: Path
) -> None:
    """In the seed's place the Dockerfile takes it by itself; elsewhere it is shown with them."""
    for place in (checkout.root / "llama", tmp_path / "elsewhere"):
        folder = write_meta(place / "llama-2-7b-chat")
        (folder / "tokenizer.model").rename(place / "tokenizer.model")
        done = checkout.berth_build("llama-2-7b-chat", "--weights", str(folder))
        assert done.returncode == 0, done.stderr
    inside, outside = checkout.builds
    assert "--build-context" not in inside["argv"]
    assert set(outside["sees"]) == {"consolidated.00.pth", "params.json", "tokenizer.model"}


@pytest.mark.parametrize("tool", ["podman", "buildah"])
def test_other_tools_are_asked_in_their_own_words(checkout: Checkout, tool: str) -> None:
    checkout.add_tool(tool)
    done = checkout.berth_build("pocket", "--tool", tool, "--", "--isolation", "chroot")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("podman run --rm")
    (build,) = checkout.builds
    assert build["tool"] == tool
    argv = build["argv"]
    assert argv[argv.index("--format") + 1] == "docker"  # OCI's format has no HEALTHCHECK
    assert argv[argv.index("--timestamp") + 1] == "1700000000"
    assert argv[-3:] == ["--isolation", "chroot", "."]
    # docker's own full name, which a kubelet asks for; theirs would be localhost/pocket.
    assert argv[argv.index("--tag") + 1] == f"docker.io/library/pocket:{__version__}"
    assert done.stdout.endswith(f" pocket:{__version__}\n")


def test_a_tool_that_works_is_taken_and_the_others_complaint_told(checkout: Checkout) -> None:
    checkout.add_tool("buildah")
    done = checkout.berth_build("pocket", FAKE_FAILS="docker version")
    assert done.returncode == 0, done.stderr
    assert "note: docker is here, but its daemon does not answer" in done.stderr
    assert checkout.builds[0]["tool"] == "buildah"


def test_a_push_goes_to_the_registry_of_the_tag(checkout: Checkout) -> None:
    tag = "registry.example.com/team/pocket:1"
    done = checkout.berth_build("pocket", "--tag", tag, "--push")
    assert done.returncode == 0, done.stderr
    assert checkout.calls[-1]["argv"] == ["push", tag]
    said = refusal(checkout, "pocket", "--push")
    assert "needs a --tag that names a registry" in said


def test_no_tool_is_a_sentence_that_says_what_to_install(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path)
    said = refusal(checkout, "pocket")
    assert "neither docker nor podman nor buildah is on PATH; install one: docker" in said
    assert "podman is not on PATH; install one" in refusal(checkout, "pocket", "--tool", "podman")


def test_a_daemon_that_does_not_answer_is_named(checkout: Checkout) -> None:
    said = refusal(checkout, "pocket", FAKE_FAILS="docker version")
    assert "its daemon does not answer: start it" in said
    assert "DOCKER_HOST" in said


@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker client on this machine")
def test_the_real_client_without_a_daemon_is_understood(checkout: Checkout) -> None:
    docker = shutil.which("docker")
    assert docker is not None
    (checkout.bin / "docker").unlink()
    (checkout.bin / "docker").symlink_to(docker)
    nobody = f"unix://{checkout.root}/docker.sock"
    assert "its daemon does not answer" in refusal(checkout, "pocket", DOCKER_HOST=nobody)


def test_an_unknown_preset_is_answered_with_near_names(checkout: Checkout) -> None:
    said = refusal(checkout, "llama-2-7b-chta")
    assert "there is no preset 'llama-2-7b-chta'; did you mean llama-2-7b-chat" in said
    assert "no engine serves foreign-model yet: it is foreign" in refusal(checkout, "foreign-model")


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        pytest.param(
            "llama-2-7b-chat",
            "they are gated: accept the licence on the hub's page of meta/Llama and set HF_TOKEN; "
            "run berth pull llama-2-7b-chat, or name their folder with --weights DIR",
            id="gated",
        ),
        pytest.param("large-model", "they may be gated: accept", id="perhaps gated"),
        pytest.param(
            "small-model",
            "(neither in models/small-model of the repository nor pulled): run berth pull small",
            id="free",
        ),
    ],
)
def test_absent_weights_are_told_with_what_to_do(
    checkout: Checkout, preset: str, words: str
) -> None:
    assert words in refusal(checkout, preset)


def test_a_missing_file_is_named(checkout: Checkout) -> None:
    folder = write_huggingface(checkout.root / "models" / "small-model", 3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert "lacks model-00002-of-00003.safetensors" in refusal(checkout, "small-model")


def test_a_disk_that_is_too_small_is_told_with_the_numbers(checkout: Checkout) -> None:
    huge = checkout.root / "models" / "small-model"
    write_huggingface(huge)
    free = shutil.disk_usage(checkout.store).free
    tensor = {"w": {"dtype": "U8", "shape": [free], "data_offsets": [0, free]}}
    header = json.dumps(tensor).encode()
    with (huge / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + free)  # sparse: twice that is more than there is
    said = refusal(checkout, "small-model")
    assert f"at {checkout.store} (weights of " in said
    assert "twice while it is built), and " in said
    assert "are free; make room" in said
    assert checkout.berth_build("small-model", "--no-disk-check").returncode == 0


def test_a_store_that_cannot_be_seen_is_said(checkout: Checkout) -> None:
    done = checkout.berth_build("pocket", FAKE_STORE="/nowhere/at/all")
    assert done.returncode == 0, done.stderr
    assert "whether there is room was not measured" in done.stderr


def test_a_docker_without_buildx_takes_no_weights_from_elsewhere(
    checkout: Checkout, tmp_path: Path
) -> None:
    folder = write_huggingface(tmp_path / "weights")
    said = refusal(
        checkout, "small-model", "--weights", str(folder), FAKE_FAILS="docker buildx version"
    )
    assert "no buildx" in said
    assert "put the weights into models/small-model of the repository" in said


def test_outside_of_a_checkout_it_says_where_dockerfiles_come_from(
    checkout: Checkout, tmp_path: Path
) -> None:
    installed = tmp_path / "installed" / "presets"
    shutil.copytree(checkout.root / "presets", installed)
    said = refusal(checkout, "pocket", BERTH_PRESETS=str(installed))
    assert "is no checkout of Berth; berth build needs a checkout" in said
    said = refusal(checkout, "pocket", BERTH_PRESETS=str(tmp_path / "gone"))
    assert "berth build needs a checkout of Berth's repository" in said


def test_a_build_that_fails_is_no_success(checkout: Checkout) -> None:
    done = checkout.berth_build("pocket", FAKE_FAILS="docker build")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "docker build ended with status 7" in done.stderr


def test_a_dry_run_prints_the_command_and_builds_nothing(checkout: Checkout) -> None:
    done = checkout.berth_build("pocket", "--dry-run")
    assert shlex.split(done.stdout)[:2] == ["docker", "build"]
    as_json = json.loads(checkout.berth_build("pocket", "--dry-run", "--json").stdout)
    assert as_json["command"] == shlex.split(done.stdout)
    assert as_json["run"][:2] == ["docker", "run"]
    assert as_json["disk_bytes"] > 2 * as_json["weights_bytes"] > 0
    assert checkout.builds == []


def test_the_list_says_what_can_be_built_and_where_weights_are(checkout: Checkout) -> None:
    write_pulled(checkout.cache, "someone/small")
    rows = json.loads(checkout.berth_build("--list", "--json").stdout)
    weights = {row["preset"]: row["weights"] for row in rows}
    assert set(weights) == {"llama-2-7b-chat", "falcon-7b", "small-model", "large-model", "pocket"}
    assert [name for name, where in weights.items() if where] == ["pocket", "small-model"]
    assert rows[0]["dockerfile"] == "presets/falcon/Dockerfile"
    table = checkout.berth_build("--list").stdout
    assert "not on this machine" in table


def test_all_builds_what_is_here_and_names_what_it_skips(checkout: Checkout) -> None:
    write_pulled(checkout.cache, "someone/small")
    done = checkout.berth_build("--all", "--", "--no-cache")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"pocket:{__version__}", f"small-model:{__version__}"]
    assert all("--no-cache" in build["argv"] for build in checkout.builds)
    for name in ("llama-2-7b-chat", "falcon-7b", "large-model"):
        assert f"skipped {name}: the weights of {name} are not on this machine" in done.stderr
    assert "2 built, 3 skipped, 0 failed" in done.stderr
    done = checkout.berth_build("--all", FAKE_FAILS="docker build --file presets/pocket")
    assert done.returncode == 1
    assert "these images could not be built: pocket" in done.stderr
    assert "leave pocket out" in refusal(checkout, "pocket", "--all")


def test_what_makes_layers_differ_is_fixed_by_the_commit(checkout: Checkout) -> None:
    """Of a clean clone the date and the commit go into the image; of a changed one no commit."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("no git on this machine")
    (checkout.bin / "git").symlink_to(git)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "one"]):
        subprocess.run([git, *command], cwd=checkout.root, check=True)
    head = subprocess.run(
        [git, "log", "-1", "--format=%H %ct"], cwd=checkout.root, capture_output=True, check=True
    )
    commit, moment = head.stdout.decode().split()
    shown = json.loads(checkout.berth_build("pocket", "--dry-run", "--json").stdout)
    assert shown["arguments"]["REVISION"] == commit
    assert f"SOURCE_DATE_EPOCH={moment}" not in shown["command"]  # the environment's goes first
    (checkout.root / "pyproject.toml").write_text("# changed")
    shown = json.loads(checkout.berth_build("pocket", "--dry-run", "--json").stdout)
    assert "REVISION" not in shown["arguments"]


def test_images_without_a_model_are_built_by_their_own_names(checkout: Checkout) -> None:
    done = checkout.berth_build("base")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"-v berth-cache:/cache berth:{__version__} MODEL\n")
    done = checkout.berth_build("controller", "--tag", "mine:1")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""  # it is run by a cluster
    files = [build["argv"][build["argv"].index("--file") + 1] for build in checkout.builds]
    assert files == ["docker/base/Dockerfile", "docker/controller/Dockerfile"]
    assert "has no model, and so no --weights" in refusal(checkout, "base", "--weights", "x")
