"""Write the Dockerfiles of all server images from docker/server.dockerfile.

    .venv/bin/python docker/generate.py [--check]

One file each, so that `docker build -f` needs nothing built before it; one template, so that the
stages they share are the same in all of them and their layers are the same bytes.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from berth.presets.catalogue import Preset, read_family

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "docker/server.dockerfile"
_NATIVE = "server,engine"
_EVERYTHING = "server,engine,transformers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What is particular about one Dockerfile."""

    path: str
    title: str
    description: str
    usage: tuple[str, ...]
    home: str  # working directory; the weights are in a folder of it
    extras: str = _NATIVE
    licences: str = "Apache-2.0"
    argument: str = ""  # that names the model; empty: the image has no argument for it
    model: str = ""  # its value, or the model's name
    arguments: tuple[str, ...] = ()  # ARG lines of the weights
    folder: str = ""  # of the weights, in the context; empty: an image without a place for any
    beside: tuple[str, ...] = ()  # further files that belong to the weights
    catalogue: str = ""  # preset.yaml that the model must be in
    listed: tuple[tuple[str, str], ...] = ()  # folder in the context, and the file that proves it
    launcher: tuple[str, ...] = ()
    path_first: str = ""


def _llama(chat: bool) -> Image:
    name = "llama-2-chat" if chat else "llama-2"
    example = "llama-2-7b-chat" if chat else "llama-2-7b"
    folder = "${WEIGHTS:-${LLAMA_WEIGHTS:-llam[a]/${LLAMA_VERSION:-none-named}}}"
    return Image(
        path=f"presets/{name}/Dockerfile",
        title="Llama 2 Chat" if chat else "Llama 2",
        description="Llama 2, served by Berth",
        usage=(
            f"Weights in llama/{example}/, then from the repository's root:",
            f"  docker build --build-arg LLAMA_VERSION={example} \\",
            f"    --build-arg SRC_DIR=presets/{name} -f presets/{name}/Dockerfile -t {example} .",
        ),
        home="/workspace/llama/llama-2",
        licences="Apache-2.0 AND LicenseRef-llama2",
        argument="LLAMA_VERSION",
        model="${LLAMA_VERSION:-${LLAMA_WEIGHTS}}",
        arguments=("ARG LLAMA_VERSION", "ARG LLAMA_WEIGHTS", "ARG WEIGHTS"),
        folder=folder,
        # Meta's download has one tokeniser beside all versions.
        beside=("llam[a]/tokenizer.mode[l]",),
        catalogue="presets/llama-2/preset.yaml",
        listed=tuple((f"llama/{preset.name}", "params.jso[n]") for preset in _family("llama-2")),
        launcher=(
            f"ARG SRC_DIR=presets/{name}",
            "COPY --chmod=0644 ${SRC_DIR}/inference-api.py /workspace/llama/llama-2/",
        ),
    )


def _falcon() -> Image:
    presets = [p for p in _family("falcon") if p.architecture == "FalconForCausalLM"]
    folders = [f"falcon/{name}" for preset in presets for name in (preset.name, preset.hub)]
    return Image(
        path="presets/falcon/Dockerfile",
        title="Falcon",
        description="Falcon, served by Berth",
        usage=(
            "Weights in falcon/tiiuae/falcon-7b/ (or falcon/falcon-7b/ for the shorter name):",
            "  docker build --build-arg FALCON_MODEL_NAME=tiiuae/falcon-7b \\",
            "    -f presets/falcon/Dockerfile -t falcon-7b .",
        ),
        home="/workspace/falcon",
        extras=_EVERYTHING,
        argument="FALCON_MODEL_NAME",
        model="${FALCON_MODEL_NAME}",
        arguments=("ARG FALCON_MODEL_NAME", "ARG WEIGHTS"),
        folder="${WEIGHTS:-falco[n]/${FALCON_MODEL_NAME:-none-named}}",
        catalogue="presets/falcon/preset.yaml",
        listed=tuple((folder, "config.jso[n]") for folder in folders),
        launcher=(
            "ARG SRC_DIR=presets/falcon",
            "COPY --chmod=0644 ${SRC_DIR}/inference-api.py /workspace/falcon/",
        ),
        path_first="/opt/berth/code/kaito:",
    )


def _huggingface() -> Image:
    return Image(
        path="presets/huggingface/Dockerfile",
        title="A model of Hugging Face's layout",
        description="Any Hugging Face folder, served by Berth",
        usage=(
            "Weights in models/Qwen/Qwen3-8B/, then from the repository's root:",
            "  docker build --build-arg MODEL_NAME=Qwen/Qwen3-8B --build-arg LICENCE=Apache-2.0 \\",
            "    -f presets/huggingface/Dockerfile -t qwen3-8b .",
        ),
        home="/workspace/tfs",
        extras=_EVERYTHING,
        licences="Apache-2.0 AND ${LICENCE}",
        argument="MODEL_NAME",
        model="${MODEL_NAME}",
        arguments=("ARG MODEL_NAME", "ARG WEIGHTS"),
        folder="${WEIGHTS:-model[s]/${MODEL_NAME:-none-named}}",
        launcher=("ARG LICENCE=LicenseRef-unknown",),
    )


def _pocket() -> Image:
    return Image(
        path="presets/pocket/Dockerfile",
        title="Pocket",
        description="The built-in model, served by Berth",
        usage=(
            "Its weights are in the repository:",
            "  docker build -f presets/pocket/Dockerfile -t pocket .",
        ),
        home="/workspace/pocket",
        argument="WEIGHTS",
        model="pocket",
        arguments=("ARG WEIGHTS",),
        folder="${WEIGHTS:-presets/pocket/weights}",
    )


def _base() -> Image:
    return Image(
        path="docker/base/Dockerfile",
        title="Berth",
        description="Berth's server without a model: weights are mounted or pulled",
        usage=(
            "  docker build -f docker/base/Dockerfile -t berth .",
            "  docker run -p 5000:5000 -v cache:/cache berth Qwen/Qwen3-0.6B",
            "  docker run -p 5000:5000 -v $PWD/weights:/workspace/model/weights berth",
        ),
        home="/workspace/model",
        extras=_EVERYTHING,
    )


def images() -> list[Image]:
    """All of them."""
    return [_base(), _llama(False), _llama(True), _falcon(), _huggingface(), _pocket()]


def dockerfile(image: Image) -> str:
    """Its text."""
    text = TEMPLATE.read_text()
    kept, dropped = ("weights", "no-weights") if image.folder else ("no-weights", "weights")
    text = re.sub(rf"@begin {dropped}@\n.*?@end {dropped}@\n", "", text, flags=re.DOTALL)
    text = re.sub(rf"@(begin|end) {kept}@\n", "", text)
    for name, value in _values(image).items():
        # A line that is nothing but an empty value goes.
        text = re.sub(rf"^@{name}@\n", "", text, flags=re.MULTILINE) if not value else text
        text = text.replace(f"@{name}@", value)
    if left := re.search(r"@[a-z-]+@", text):
        raise ValueError(f"{TEMPLATE.name} has {left[0]}, which nothing fills in")
    return re.sub(r"\n{3,}", "\n\n", text)


def _values(image: Image) -> Mapping[str, str]:
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listing = (
        f"COPY docker/none/weights.txt {_perhaps(folder)}/{proof} there/{folder}/"
        for folder, proof in image.listed
    )
    environment = [f"ENV BERTH_MODEL={image.model} \\"] if image.model else []
    indent = "    " if environment else "ENV "
    return {
        "usage": "\n".join(f"# {line}".rstrip() for line in image.usage),
        "weights-args": "\n".join(image.arguments),
        "weights-source": " ".join([*image.beside, f"{image.folder}/*"]),
        "weights-listing": "\n".join(listing),
        "catalogue": image.catalogue,
        "find-options": " ".join(
            [
                f'--argument {image.argument} --model "{image.model}" --folder "{image.folder}"',
                *([f"--catalogue {Path(image.catalogue).name}"] if image.catalogue else []),
            ]
        ),
        "extras": image.extras,
        "home": image.home,
        "launcher": "\n".join(image.launcher),
        "path": image.path_first,
        "model-env": "\n".join(
            [
                *([] if not image.folder else _unless_weights(image)),
                *environment,
                f"{indent}BERTH_WEIGHTS={image.home}/weights",
            ]
        ),
        "version": about["version"],
        "title": image.title,
        "description": image.description,
        "licences": image.licences,
        "model": image.model or "none",
    }


def _perhaps(folder: str) -> str:
    """The folder as a pattern from its first part on: docker's own COPY fails where what stands
    before the first wildcard is not there."""
    first, slash, rest = folder.partition("/")
    return f"{first[:-1]}[{first[-1]}]{slash}{rest}"


def _unless_weights(image: Image) -> list[str]:
    """The ARG lines that the model's name is made of, again for this stage."""
    return [line for line in image.arguments if line.split()[1] in image.model]


def _family(name: str) -> list[Preset]:
    return read_family(ROOT / "presets" / name / "preset.yaml").presets


def main() -> int:
    """Write them, or with --check say which are not as they would be written."""
    stale = []
    for image in images():
        path, text = ROOT / image.path, dockerfile(image)
        if path.exists() and path.read_text() == text:
            continue
        stale.append(image.path)
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    sys.stdout.write("".join(f"{path}\n" for path in stale))
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
