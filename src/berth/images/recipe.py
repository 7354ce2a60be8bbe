"""What belongs to the image of a preset: Dockerfile, build arguments, tag, weights. Pure.

The Dockerfiles lie in the repository's presets/. Those of the seed's families keep the arguments
that KAITO's builds gave them (LLAMA_VERSION, FALCON_MODEL_NAME); every other model that an engine
of ours serves is built by presets/huggingface/Dockerfile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from berth.checkpoint.numbers import parameter_count
from berth.fit.units import ELEMENT_BYTES, GIB, MIB, ceil_bytes
from berth.presets.catalogue import Preset
from berth.presets.image_names import CONTROLLER, SERVER, Variant, image_name

# Bytes of an image without weights. The CPU one is the most that docs/images.md promises; of the
# CUDA one, torch's wheels and NVIDIA's libraries are an estimate from their published sizes.
_BARE_BYTES: dict[Variant, int] = {"cpu": 1_100_000_000, "cuda": 8_000_000_000}
# While an image is made, its weights lie in the store as the build's copy and as the layer.
_COPIES = 2
_MARGIN = 512 * MIB
_SPDX = {name.lower(): name for name in ("Apache-2.0", "MIT", "CC-BY-NC-SA-4.0")}


# Images without a model, by the name that berth build calls them: Dockerfile and image.
WITHOUT_MODEL = {
    "base": ("docker/base/Dockerfile", SERVER),
    "controller": ("docker/controller/Dockerfile", CONTROLLER),
}


class NotBuildable(Exception):
    """No image of this preset can serve it; the message is a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One build, but for the tool and the place of the weights."""

    name: str  # the preset's, or one of WITHOUT_MODEL
    dockerfile: str  # from the repository's root, which is the context
    arguments: Mapping[str, str]
    variant: Variant
    tag: str
    weights: str | None  # where the Dockerfile looks for them in the context; None: left out
    weights_bytes: int | None  # as the catalogue has it; None: not known, or left out
    token: bool  # a container without weights needs HF_TOKEN to pull them


def recipe_of(
    preset: Preset,
    *,
    variant: Variant = "cpu",
    with_weights: bool = True,
    base: str | None = None,
    tag: str | None = None,
    revision: str | None = None,
) -> Recipe:
    """How the image of `preset` is built.

    Args:
        base: another base image than the Dockerfile's.
        revision: the commit of Berth's repository, for the image's label.

    Raises:
        NotBuildable: no engine of ours serves the preset.
    """
    if preset.engine == "none":
        raise NotBuildable(f"no engine serves {preset.name} yet: {preset.reason}")
    dockerfile, own, weights = _place(preset)
    arguments = {**own, "VARIANT": variant, **_common(base, revision)}
    if not with_weights:
        arguments["WEIGHTS"] = "docker/none"
    return Recipe(
        name=preset.name,
        dockerfile=dockerfile,
        arguments=arguments,
        variant=variant,
        tag=tag or image_name(preset.name, variant, with_weights=with_weights),
        weights=weights if with_weights else None,
        weights_bytes=expected_bytes(preset) if with_weights else None,
        token=preset.gated is not False,
    )


def recipe_without_model(
    name: str,
    *,
    variant: Variant = "cpu",
    base: str | None = None,
    tag: str | None = None,
    revision: str | None = None,
) -> Recipe:
    """How one of WITHOUT_MODEL is built: the server alone, or the controller."""
    dockerfile, image = WITHOUT_MODEL[name]
    server = {"VARIANT": variant} if name == "base" else {}
    return Recipe(
        name=name,
        dockerfile=dockerfile,
        arguments={**server, **_common(base, revision)},
        variant=variant,
        tag=tag or image_name(image, variant),
        weights=None,
        weights_bytes=None,
        token=False,
    )


def buildable(presets: Iterable[Preset]) -> list[Preset]:
    """Those that an engine of ours serves, in the catalogue's order."""
    return [preset for preset in presets if preset.engine != "none"]


def disk_bytes(variant: Variant, weights_bytes: int) -> int:
    """Bytes that a first build takes where the tool keeps its images."""
    return _BARE_BYTES[variant] + _COPIES * weights_bytes + _MARGIN


def expected_bytes(preset: Preset) -> int | None:
    """About how large the files of the weights are; None if the catalogue does not know."""
    if preset.weight_files_gib is not None:
        return int(preset.weight_files_gib * GIB)
    numbers = preset.numbers
    if numbers is None or numbers.missing:
        return None
    # Two bytes each if it is not known how they are stored: files may be larger and still whole.
    return ceil_bytes(parameter_count(numbers), ELEMENT_BYTES[numbers.dtype or "bfloat16"])


def _common(base: str | None, revision: str | None) -> dict[str, str]:
    given = {"BASE_IMAGE": base, "REVISION": revision}
    return {name: value for name, value in given.items() if value is not None}


def spdx(licence: str) -> str:
    """The hub's short name of a licence as an SPDX expression has it."""
    return _SPDX.get(licence.lower(), f"LicenseRef-{licence}")


def _place(preset: Preset) -> tuple[str, dict[str, str], str]:
    """Dockerfile, its arguments, and the folder of the context that it takes weights from."""
    name = preset.name
    if preset.family == "pocket":
        return "presets/pocket/Dockerfile", {}, "presets/pocket/weights"
    if preset.family == "llama-2":
        folder = "presets/llama-2-chat" if name.endswith("-chat") else "presets/llama-2"
        own = {"LLAMA_VERSION": name, "SRC_DIR": folder}
        return f"{folder}/Dockerfile", own, f"llama/{name}"
    if preset.architecture == "FalconForCausalLM":
        return "presets/falcon/Dockerfile", {"FALCON_MODEL_NAME": name}, f"falcon/{name}"
    own = {"MODEL_NAME": name, "LICENCE": spdx(preset.licence)}
    return "presets/huggingface/Dockerfile", own, f"models/{name}"
