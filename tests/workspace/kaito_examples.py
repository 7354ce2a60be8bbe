"""The Workspaces of KAITO's own examples/ folder, as its users have them: every field and value
that matters, of its first release (v1alpha1) and of August 2026 (v1beta1)."""

from __future__ import annotations

from typing import Any

from workspace.manifests import Json

NC12, NC6, A100, A100_2, A100_4 = (
    "Standard_NC12s_v3",
    "Standard_NC6s_v3",
    "Standard_NC24ads_A100_v4",
    "Standard_NC48ads_A100_v4",
    "Standard_NC96ads_A100_v4",
)
A10, H100_2 = "Standard_NV36ads_A10_v5", "Standard_NC80adis_H100_v5"
PRIVATE = {"accessMode": "private", "presetOptions": {"image": "<YOUR IMAGE URL>"}}
TOKEN = {"presetOptions": {"modelAccessSecret": "hf-token"}}
_ARC = {"instanceType": "<your-vm-sku>", "preferredNodes": ["<your-arc-node-name>"]}


def _of(version: str, name: str, labels: Json, resource: Json, **parts: Any) -> Json:
    return {
        "apiVersion": f"kaito.sh/{version}",
        "kind": "Workspace",
        "metadata": {"name": f"workspace-{name}"},
        "resource": {**resource, "labelSelector": {"matchLabels": labels}},
        **parts,
    }


def first_release() -> dict[str, Json]:
    """Falcon from a public image, Llama 2 from private ones, its 70B on two nodes."""
    sizes: list[tuple[str, Json, Json]] = [
        ("falcon-7b", {"instanceType": NC12}, {}),
        ("falcon-7b-instruct", {"instanceType": NC12}, {}),
        ("falcon-40b", {"instanceType": A100_4}, {}),
        ("falcon-40b-instruct", {"instanceType": A100_4}, {}),
        ("llama-2-7b", {"instanceType": NC12}, PRIVATE),
        ("llama-2-7b-chat", {"instanceType": NC12}, PRIVATE),
        ("llama-2-13b", {"instanceType": NC12}, PRIVATE),
        ("llama-2-13b-chat", {"instanceType": NC12}, PRIVATE),
        ("llama-2-70b", {"instanceType": A100_4, "count": 2}, PRIVATE),
        ("llama-2-70b-chat", {"instanceType": A100_4, "count": 2}, PRIVATE),
    ]
    found = {
        name: _of(
            "v1alpha1",
            name,
            {"apps": name},
            resource,
            inference={"preset": {"name": name, **options}},
        )
        for name, resource, options in sizes
    }
    found["falcon-7b"]["metadata"]["annotations"] = {"kaito.sh/enablelb": "True"}
    return found


def today() -> dict[str, Json]:
    """Those that serve a preset."""
    sizes: list[tuple[str, str, Json, Json]] = [
        ("deepseek-r1", "deepseek-r1-0528", {"count": 6, "instanceType": H100_2}, {}),
        ("deepseek-r1-distill-llama-8b", "", {"instanceType": A100}, {}),
        ("deepseek-r1-distill-qwen-14b", "", {"instanceType": A100}, {}),
        ("deepseek-v3", "deepseek-v3-0324", {"count": 6, "instanceType": H100_2}, {}),
        ("gemma-3-27b-instruct", "", {"instanceType": A100}, TOKEN),
        ("gemma-3-4b-instruct", "", {"instanceType": A10}, TOKEN),
        ("gpt-oss-120b", "", {"instanceType": A100}, TOKEN),
        ("gpt-oss-20b", "", {"instanceType": A10}, {}),
        ("llama-3-1-8b-instruct", "llama-3.1-8b-instruct", {"instanceType": A100_4}, TOKEN),
        (
            "llama-3-3-70b-instruct",
            "llama-3.3-70b-instruct",
            {"count": 2, "instanceType": A100_2},
            TOKEN,
        ),
        ("ministral-3-14b-instruct", "", {"instanceType": A100}, {}),
        ("ministral-3-3b-instruct", "", {"instanceType": A10}, {}),
        ("ministral-3-8b-instruct", "", {"instanceType": A100}, {}),
        ("mistral-7b-instruct", "", {"instanceType": A100}, {}),
        ("mistral-7b", "", {"instanceType": A100}, {}),
        ("mistral-large-3-675b-instruct", "", {"count": 6, "instanceType": H100_2}, {}),
        ("phi-3-5-mini", "phi-3.5-mini-instruct", {"instanceType": A100}, {}),
        ("phi-3-medium", "phi-3-medium-128k-instruct", {"instanceType": A100}, {}),
        ("phi-3-mini", "phi-3-mini-4k-instruct", {"instanceType": A100}, {}),
        ("phi-4", "", {"instanceType": A100}, {}),
        ("phi-4-mini", "phi-4-mini-instruct", {"instanceType": A100}, {}),
        ("qwen-2-5-coder-32b-instruct", "qwen2.5-coder-32b-instruct", {"instanceType": A100}, {}),
        ("qwen-2-5-coder-7b-instruct", "qwen2.5-coder-7b-instruct", {"instanceType": A100}, {}),
        ("arc-phi-4-mini", "phi-4-mini-instruct", _ARC, {}),
    ]
    found = {
        name: _of(
            "v1beta1",
            name,
            {"apps": name},
            resource,
            inference={"preset": {"name": preset or name, **options}},
        )
        for name, preset, resource, options in sizes
    }
    for name in ("gpt-oss-120b", "gpt-oss-20b", "llama-3-3-70b-instruct"):
        found[name]["inference"]["config"] = f"{name}-inference-params"
    throughput = {"kaito.sh/performance-mode": "throughput"}
    found["phi-4-mini"]["metadata"]["annotations"] = throughput
    return found


def not_done() -> dict[str, tuple[Json, str]]:
    """Those of what Berth does not do, with the field that the refusal names."""
    return {
        "adapters": (
            _of(
                "v1beta1",
                "phi-3-mini-adapter",
                {"apps": "phi-3-adapter"},
                {"instanceType": A100},
                inference={
                    "preset": {"name": "phi-3-mini-128k-instruct"},
                    "adapters": [
                        {
                            "source": {
                                "name": "phi-3-adapter",
                                "image": "ACR_REPO_HERE.azurecr.io/ADAPTER_HERE:0.0.1",
                            },
                            "strength": "1.0",
                        }
                    ],
                },
            ),
            "inference.adapters",
        ),
        "accelerator": (
            _of(
                "v1beta1",
                "accelerator-llama-3-1-8b-instruct",
                {"apps": "accelerator-llama-3-1-8b-instruct"},
                {"partition": {"mode": "accelerator", "count": 2}},
                inference={"preset": {"name": "llama-3.1-8b-instruct", **TOKEN}},
            ),
            "resource.partition",
        ),
        "tuning": (
            _of(
                "v1beta1",
                "tuning-falcon-7b",
                {"app": "tuning-falcon-7b"},
                {"instanceType": NC12},
                tuning={
                    "preset": {"name": "falcon-7b"},
                    "method": "qlora",
                    "config": "qlora-params-template",
                    "input": {"urls": ["https://example.com/train.parquet?download=true"]},
                    "output": {"image": "example.azurecr.io/out:0.0.1", "imagePushSecret": "acr"},
                },
            ),
            "tuning",
        ),
        "tuning with volumes": (
            _of(
                "v1beta1",
                "tuning-phi-3",
                {"app": "tuning-phi-3"},
                {"instanceType": NC6},
                tuning={
                    "preset": {"name": "phi-3-mini-128k-instruct"},
                    "method": "qlora",
                    "input": {"volumeSource": {"persistentVolumeClaim": {"claimName": "in"}}},
                    "output": {"volumeSource": {"persistentVolumeClaim": {"claimName": "out"}}},
                },
            ),
            "tuning",
        ),
    }
