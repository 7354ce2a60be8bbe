"""What `berth build` calls an image, so that all that start one ask for the same name. Pure."""

from __future__ import annotations

from typing import Literal

from berth import __version__

Variant = Literal["cpu", "cuda"]

# Images without a model: the server, which is given one when it starts, and the controller.
SERVER = "berth"
CONTROLLER = "berth-controller"


def image_name(name: str, variant: Variant = "cpu", *, with_weights: bool = True) -> str:
    """llama-2-7b-chat:0.1.0, with -cuda and -bare for the images that differ from it."""
    return f"{name}:{image_tag(variant, with_weights=with_weights)}"


def image_tag(variant: Variant = "cpu", *, with_weights: bool = True) -> str:
    """What stands behind the colon, of this version of Berth."""
    kind = ("" if variant == "cpu" else f"-{variant}") + ("" if with_weights else "-bare")
    return f"{__version__}{kind}"


def full_name(tag: str) -> str:
    """The name with its registry, as docker and Kubernetes understand a name that has none.

    `berth:0.1.0` is `docker.io/library/berth:0.1.0` to a kubelet; podman and buildah would call
    what they build `localhost/berth:0.1.0`, which no kubelet looks for.
    """
    if has_registry(tag):
        return tag
    return f"docker.io/{tag}" if "/" in tag else f"docker.io/library/{tag}"


def has_registry(tag: str) -> bool:
    """Whether the name says where to push it: registry.example.com/team/model:1."""
    host, slash, _ = tag.partition("/")
    return bool(slash) and ("." in host or ":" in host or host == "localhost")
