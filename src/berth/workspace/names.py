"""Names, labels and annotations of what belongs to a Workspace.

A Service is a DNS label: 63 characters, small letters, digits and dashes, a letter first. A
StatefulSet's is shorter, for its pods carry `NAME-HASH` (11 characters more) as a label. What has
to be changed to become such a name ends in a hash of the original, so that no two meet.
"""

from __future__ import annotations

import hashlib
import re

WORKSPACE_LABEL = "kaito.sh/workspace"
NAMESPACE_LABEL = "kaito.sh/workspacenamespace"  # on NodeClaims, which have no namespace
LOAD_BALANCER = "kaito.sh/enablelb"  # annotation of a Workspace
FINALIZER = "workspace.finalizer.kaito.sh"
APPLIED = "berth/applied"  # annotation: hashes of what was applied, of the spec and the rest
PLACED = "berth/placed"  # annotation of the StatefulSet: the shape that was chosen, and for what
CONFIG = "berth/config"  # annotation of the StatefulSet: the options that it runs with, and whose
VERSION = "berth/version"  # annotation of the pods: a hash of the template that they were made of
ASKED = "berth/asked"  # annotation of the StatefulSet: a hash of what the Workspace asks for
SURGE = "berth/surge"  # label of a second StatefulSet and its pod, while the first is replaced
POD_INDEX = "apps.kubernetes.io/pod-index"  # label that Kubernetes gives a StatefulSet's pods
HOSTNAME = "kubernetes.io/hostname"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"

LONGEST_LABEL = 63
LONGEST_STATEFUL_SET = 52  # with "-" and the ten characters of a revision it makes 63
_DIGEST = 8
_DNS_LABEL = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def digest(text: str, length: int = _DIGEST) -> str:
    """Hexadecimal digits that stand for `text`."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def dns_label(name: str, suffix: str = "", longest: int = LONGEST_LABEL) -> str:
    """`name` with `suffix` if that is a DNS label already, else the nearest one with a hash."""
    whole = name + suffix
    if len(whole) <= longest and _DNS_LABEL.fullmatch(whole):
        return whole
    tail = f"-{digest(name)}{suffix}"
    stem = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    if not stem[:1].isalpha():
        stem = f"w-{stem}".rstrip("-")
    return stem[: longest - len(tail)].rstrip("-") + tail


def label_value(name: str) -> str:
    """A Workspace's name as the value of a label."""
    if len(name) <= LONGEST_LABEL and _LABEL_VALUE.fullmatch(name):
        return name
    return dns_label(name)


def stateful_set(workspace: str) -> str:
    """Also of the container, the NetworkPolicy and the PodDisruptionBudget."""
    return dns_label(workspace, longest=LONGEST_STATEFUL_SET)


def surge(workspace: str) -> str:
    """The second StatefulSet. With a hash: no other Workspace takes the name by chance."""
    return f"{dns_label(workspace, longest=38)}-{digest(workspace)}-next"


def service(workspace: str) -> str:
    """What clients call."""
    return dns_label(workspace)


def headless_service(workspace: str) -> str:
    """By which a group's pods find each other."""
    return dns_label(workspace, "-headless")


def claim(namespace: str, workspace: str, index: int) -> str:
    """The NodeClaim of one node. It follows from the Workspace, so that none is made twice."""
    return f"{dns_label(workspace, longest=40)}-{digest(f'{namespace}/{workspace}')}-{index}"
