"""A plan touches nothing that is another's, nor quarrels with what others change."""

from __future__ import annotations

import copy

from berth.workspace.actions import Apply, WriteStatus
from workspace.settled import running
from workspace.worlds import Cluster, gpu_node, workspace


def test_what_others_add_to_a_child_is_left_alone() -> None:
    cluster = running()
    service = cluster.child("Service", "falcon")
    service["metadata"]["annotations"]["cloud.example/lb"] = "fast"
    service["spec"]["ports"][0]["nodePort"] = 31000
    sidecar = {"name": "sidecar", "image": "proxy"}
    cluster.child("StatefulSet")["spec"]["template"]["spec"]["containers"].append(sidecar)
    assert not [a for a in cluster.plan() if isinstance(a, Apply)]


def test_an_object_of_somebody_else_is_never_touched() -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "falcon",
            "namespace": "models",
            "uid": "u",
            "ownerReferences": [
                {"kind": "Deployment", "name": "bird", "uid": "d", "controller": True}
            ],
        },
        "spec": {},
    }
    cluster = Cluster(workspace(), [gpu_node()])
    cluster.children["Service", "falcon"] = copy.deepcopy(theirs)
    cluster.settle()
    assert list(cluster.children.values()) == [theirs]
    assert cluster.reason("InferenceReady") == ("False", "NameTaken")
    message = cluster.condition("InferenceReady")["message"]
    assert "Service models/falcon" in message
    assert "Deployment bird" in message


def test_children_of_a_namesake_that_was_deleted_are_not_ours() -> None:
    """The owner reference's uid counts, not its name."""
    cluster = running()
    left = copy.deepcopy(cluster.children)
    again = Cluster(workspace(), [gpu_node()])
    assert again.workspace
    again.workspace["metadata"]["uid"] = "another"
    again.children = left
    again.settle()
    assert again.children == left
    assert again.reason("InferenceReady") == ("False", "NameTaken")


def test_a_webhook_that_changes_what_we_apply_does_not_keep_it_from_being_ready() -> None:
    cluster = running()
    spec = cluster.child("StatefulSet")["spec"]["template"]["spec"]
    spec["containers"][0]["image"] = "mirror.example/berth:cuda"
    cluster.pods.clear()
    cluster._stateful_sets()
    status = [action for action in cluster.plan() if isinstance(action, WriteStatus)]
    assert not status, "the conditions stay as they are"
