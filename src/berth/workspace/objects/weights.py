"""Where a pod's weights come from: its image, or the hub, into a volume."""

from __future__ import annotations

from typing import Any

from berth.fit.units import GIB
from berth.presets.image_names import image_tag
from berth.workspace.objects.common import Plan, quantity

VOLUME = "cache"
MOUNT = "/cache"
_CACHES = GIB  # of compiled kernels and the like, beside the weights


def image(plan: Plan) -> str:
    """The Workspace's own, the registry's of this preset, or the one for every model."""
    preset, settings = plan.spec.preset, plan.settings
    assert preset is not None, "a template has its own image"
    if plan.spec.preset_options.image:
        return plan.spec.preset_options.image
    on_cpu = plan.shape.device == "cpu"
    if settings.model_registry:
        tag = settings.model_tag or image_tag("cpu" if on_cpu else "cuda")
        return f"{settings.model_registry.rstrip('/')}/{preset.name}:{tag}"
    return settings.runtime_image if on_cpu else settings.runtime_image_gpu


def are_in_image(plan: Plan) -> bool:
    """Then the image knows its folder, and the arguments name no model."""
    return bool(plan.spec.preset_options.image or plan.settings.model_registry)


def are_pulled(plan: Plan) -> bool:
    """From the hub, when the pod starts. The catalogue has some small models' weights itself."""
    preset = plan.spec.preset
    return preset is not None and not are_in_image(plan) and preset.weights is None


def volume_size(plan: Plan) -> str:
    """A fifth more than the weights, for what the hub's library writes beside them."""
    weights = plan.shape.disk if are_pulled(plan) else 0
    return quantity(-(-(weights + weights // 5 + _CACHES) // GIB) * GIB)


def has_claim(plan: Plan) -> bool:
    """Whether pulled weights outlive the pod, on a volume of the chart's storage class."""
    return bool(plan.settings.storage_class) and are_pulled(plan)


def volumes(plan: Plan) -> list[dict[str, Any]]:
    """The cache's, if no PersistentVolumeClaim is it."""
    if has_claim(plan):
        return []
    return [{"name": VOLUME, "emptyDir": {"sizeLimit": volume_size(plan)}}]


def volume_claims(plan: Plan) -> list[dict[str, Any]]:
    """volumeClaimTemplates."""
    if not has_claim(plan):
        return []
    return [
        {
            "metadata": {"name": VOLUME},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": plan.settings.storage_class,
                "resources": {"requests": {"storage": volume_size(plan)}},
            },
        }
    ]
