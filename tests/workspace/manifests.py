"""Workspaces to begin with, and how to change one field of them."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CRD_FILE = ROOT / "api" / "kaito.sh_workspaces.yaml"
ABSENT = object()

Json = dict[str, Any]


def crd() -> Json:
    """The published one."""
    loaded: Json = yaml.safe_load(CRD_FILE.read_text())
    return loaded


def preset(version: str = "v1beta1") -> Json:
    """Every field that Berth has, of the kind that serves a preset."""
    return {
        "apiVersion": f"kaito.sh/{version}",
        "kind": "Workspace",
        "metadata": {"name": "workspace-llama-2-7b-chat", "namespace": "default"},
        "resource": {
            "count": 1,
            "instanceType": "Standard_NC24ads_A100_v4",
            "labelSelector": {"matchLabels": {"apps": "llama-2-7b-chat"}},
            "preferredNodes": ["gpu-1"],
        },
        "inference": {
            "preset": {
                "name": "llama-2-7b-chat",
                "accessMode": "private",
                "presetOptions": {
                    "image": "registry.example.com/llama-2-7b-chat:1",
                    "imagePullSecrets": ["registry"],
                    "modelAccessSecret": "hf-token",
                },
            },
            "config": "server-options",
        },
    }


def template(version: str = "v1beta1") -> Json:
    """A pod of one's own."""
    return {
        "apiVersion": f"kaito.sh/{version}",
        "kind": "Workspace",
        "metadata": {"name": "workspace-own"},
        "resource": {"labelSelector": {"matchLabels": {"apps": "own"}}},
        "inference": {
            "template": {
                "spec": {
                    "containers": [
                        {"name": "web", "image": "nginx:1", "ports": [{"containerPort": 80}]}
                    ]
                }
            }
        },
    }


def changed(manifest: Json, path: str, value: Any) -> Json:
    """A copy with one field set (or, ABSENT, taken away): "resource.count", "a.b[0].c"."""
    made = copy.deepcopy(manifest)
    keys: list[str | int] = [int(k) if k.isdigit() else k for k in re.split(r"[.\[\]]+", path) if k]
    node: Any = made
    for key in keys[:-1]:
        node = node[key]
    if value is ABSENT:
        del node[keys[-1]]
    else:
        node[keys[-1]] = value
    return made
