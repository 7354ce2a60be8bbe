"""NodeClaims: only for what fits, once each, tried again with growing pauses, all given back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from berth.workspace.actions import Apply, Delete, LookAgain, SetFinalizer, WriteStatus
from berth.workspace.observed import Rejected, Settings
from workspace.worlds import Cluster, Object, cpu_node, gpu_node, workspace

FINALIZER = "workspace.finalizer.kaito.sh"
CLASS = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}
A10G = ("NVIDIA-A10G", 23028)


def provisioning(preset: str | None = "falcon-7b", **changes: Any) -> Cluster:
    """A cluster without a GPU node, and a chart that provisions."""
    changes = {"instanceType": "g5.xlarge"} | changes
    return Cluster(
        workspace(preset, **changes),
        [cpu_node()],
        settings=Settings(provisioning=True, node_class=CLASS),
        claims=[],
    )


def claims_of(cluster: Cluster) -> dict[str, Object]:
    assert cluster.claims is not None
    return cluster.claims


def made(cluster: Cluster) -> list[Object]:
    return [a.object for a in cluster.log if isinstance(a, Apply) and a.uid is None]


def launch(cluster: Cluster, gpus: int = 1, product: tuple[str, int] = A10G) -> None:
    """Karpenter's part: every claim becomes a node with its labels."""
    for name, claim in claims_of(cluster).items():
        if claim.get("status", {}).get("nodeName"):
            continue
        labels = claim["metadata"]["labels"] | {"node.kubernetes.io/instance-type": "g5.xlarge"}
        taint = {"key": "sku", "value": "gpu", "effect": "NoSchedule"}
        cluster.nodes.insert(
            0, gpu_node(f"node-{name}", gpus, *product, labels=labels, taints=[taint])
        )
        claim["status"] = {
            "nodeName": f"node-{name}",
            "conditions": [
                {"type": kind, "status": "True"}
                for kind in ("Launched", "Registered", "Initialized", "Ready")
            ],
        }


def fail(cluster: Cluster, message: str) -> None:
    """The cloud has none: the claim says so."""
    for claim in claims_of(cluster).values():
        claim["status"] = {
            "conditions": [
                {
                    "type": "Launched",
                    "status": "False",
                    "reason": "InsufficientCapacityError",
                    "message": message,
                }
            ]
        }


def warning(name: str, message: str, when: str, count: int = 1) -> Object:
    return {
        "type": "Warning",
        "reason": "InsufficientCapacityError",
        "message": message,
        "count": count,
        "lastTimestamp": when,
        "involvedObject": {"kind": "NodeClaim", "name": name},
    }


def test_the_finalizer_is_there_before_the_first_claim() -> None:
    cluster = provisioning()
    first = cluster.plan()
    assert first == (SetFinalizer(present=True, resource_version="1"),)
    cluster.settle()
    assert len(claims_of(cluster)) == 1


def test_a_claim_has_what_the_preset_needs() -> None:
    cluster = provisioning()
    cluster.settle()
    (claim,) = claims_of(cluster).values()
    spec = claim["spec"]
    assert claim["apiVersion"] == "karpenter.sh/v1"
    assert spec["nodeClassRef"] == CLASS
    assert spec["resources"]["requests"]["nvidia.com/gpu"] == "1"
    # 12.9 GiB of weights, and 80 GiB for images and logs.
    assert spec["resources"]["requests"]["ephemeral-storage"] == "95123Mi"
    assert spec["taints"] == [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}]
    assert claim["metadata"]["labels"]["pool"] == "gpu"
    types = next(r for r in spec["requirements"] if r["key"] == "node.kubernetes.io/instance-type")
    assert types["values"] == ["g5.xlarge"]


def test_the_storage_of_kaito_s_own_provisioner_is_called_storage() -> None:
    cluster = provisioning()
    node_class = {"group": "kaito.sh", "kind": "KaitoNodeClass", "name": "default"}
    cluster.settings = Settings(provisioning=True, node_class=node_class)
    cluster.settle()
    (claim,) = claims_of(cluster).values()
    assert "storage" in claim["spec"]["resources"]["requests"]
    assert claim["metadata"]["labels"]["karpenter.sh/nodepool"] == "kaito"


def test_what_would_not_fit_is_never_paid_for() -> None:
    cluster = provisioning("llama-2-70b-chat")
    cluster.settle()
    assert not claims_of(cluster)
    assert not cluster.children
    assert cluster.reason("Fits") == ("False", "DoesNotFit")
    assert FINALIZER not in str(cluster.workspace)


def test_nothing_is_deployed_before_the_node_is_there() -> None:
    cluster = provisioning()
    cluster.settle()
    assert not cluster.children
    assert cluster.reason("Fits") == ("True", "FitsNodes")
    assert cluster.reason("NodeClaimReady") == ("False", "ClaimsPending")
    assert cluster.reason("ResourceReady") == ("False", "ClaimsPending")
    launch(cluster)
    cluster.settle()
    assert cluster.reason("NodeClaimReady") == ("True", "ClaimsReady")
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")


def test_a_group_gets_a_claim_for_each_node() -> None:
    cluster = provisioning("llama-2-70b-chat", instanceType="p4de.24xlarge", count=2)
    cluster.settle()
    assert len(claims_of(cluster)) == 2


def test_nodes_that_are_there_already_are_used_first() -> None:
    cluster = provisioning(count=2)
    labels = {"node.kubernetes.io/instance-type": "g5.xlarge"}
    cluster.nodes.append(gpu_node("own", 1, *A10G, labels=labels))
    cluster.settle()
    assert len(claims_of(cluster)) == 1


@pytest.mark.parametrize(
    "node",
    [
        pytest.param({"taints": [{"key": "team", "effect": "NoSchedule"}]}, id="tainted"),
        pytest.param({"unschedulable": True}, id="cordoned"),
        pytest.param({"ready": False}, id="not ready"),
        pytest.param({"labels": {"pool": "other"}}, id="another pool"),
    ],
)
@pytest.mark.parametrize("template", [False, True])
def test_nodes_that_do_not_do_are_no_reason_to_make_none(node: Object, template: bool) -> None:
    """Otherwise it would wait for ever for what is there and cannot be used."""
    pod = {"spec": {"containers": [{"name": "x", "image": "x"}]}}
    cluster = provisioning(None, template=pod) if template else provisioning()
    labels = {"node.kubernetes.io/instance-type": "g5.xlarge"} | node.get("labels", {})
    cluster.nodes.append(gpu_node("own", 1, *A10G, **(node | {"labels": labels})))
    cluster.settle()
    assert len(claims_of(cluster)) == 1


def test_enough_nodes_need_no_claims() -> None:
    cluster = provisioning()
    labels = {"node.kubernetes.io/instance-type": "g5.xlarge"}
    cluster.nodes = [gpu_node("own", 1, *A10G, labels=labels)]
    cluster.settle()
    assert not claims_of(cluster)
    assert cluster.reason("NodeClaimReady") == ("True", "NoClaimsNeeded")
    assert FINALIZER not in str(cluster.workspace)


def test_a_claim_is_kept_when_another_node_becomes_free() -> None:
    cluster = provisioning()
    cluster.settle()
    launch(cluster)
    cluster.settle()
    labels = {"node.kubernetes.io/instance-type": "g5.xlarge"}
    cluster.nodes.append(gpu_node("own", 1, *A10G, labels=labels))
    cluster.settle()
    assert len(claims_of(cluster)) == 1
    assert cluster.plan() == ()


def test_a_node_that_the_model_does_not_run_on_is_given_back() -> None:
    """Another one became free before it was there; it would be paid for and idle."""
    cluster = provisioning()
    cluster.settle()
    assert len(claims_of(cluster)) == 1
    labels = {"node.kubernetes.io/instance-type": "g5.xlarge"}
    cluster.nodes.insert(0, gpu_node("own", 1, *A10G, labels=labels))
    cluster.settle()
    assert cluster.workspace
    assert cluster.workspace["status"]["workerNodes"] == ["own"]
    assert not claims_of(cluster)
    assert cluster.reason("NodeClaimReady") == ("True", "NoClaimsNeeded")
    assert cluster.reason("WorkspaceReady")[0] == "True"


def test_a_claim_that_has_not_said_yet_which_node_it_became_is_kept() -> None:
    """The news of the pod may come before the claim's; the node's labels tell whose it is."""
    cluster = provisioning()
    cluster.settle()
    launch(cluster)
    cluster.settle()
    assert cluster.reason("WorkspaceReady")[0] == "True"
    (claim,) = claims_of(cluster).values()
    del claim["status"]["nodeName"]
    assert not [action for action in cluster.plan() if isinstance(action, Delete)]


def test_a_plan_on_an_old_cache_makes_the_same_claim_again_and_not_a_second_one() -> None:
    cluster = provisioning()
    cluster.step()
    first = [a.object for a in cluster.plan() if isinstance(a, Apply)]
    again = [a.object for a in cluster.plan() if isinstance(a, Apply)]
    assert first == again
    assert len(first) == 1


def test_a_launch_that_failed_is_in_the_condition() -> None:
    said = "all requested instance types were unavailable during launch"
    cluster = provisioning()
    cluster.settle()
    fail(cluster, said)
    cluster.settle()
    for kind in ("NodeClaimReady", "ResourceReady", "WorkspaceReady"):
        assert cluster.reason(kind) == ("False", "ClaimLaunchFailed")
        assert said in cluster.condition(kind)["message"]
    assert [event.reason for event in cluster.told].count("ClaimLaunchFailed") == 1


def test_a_claim_that_karpenter_gave_up_is_made_again_after_a_pause() -> None:
    cluster = provisioning()
    cluster.settle()
    fail(cluster, "no capacity")
    cluster.settle()
    claims_of(cluster).clear()  # Karpenter deletes a claim that it cannot launch
    cluster.settle()
    assert not claims_of(cluster)
    message = cluster.condition("NodeClaimReady")["message"]
    assert "no capacity" in message
    assert "Next try at 2026-11-21T09:01:" in message
    (look,) = [a for a in cluster.plan() if isinstance(a, LookAgain)]
    assert look.seconds <= 61
    cluster.settle()
    assert cluster.condition("NodeClaimReady")["message"] == message, "the time does not run away"
    cluster.now += timedelta(seconds=70)
    cluster.settle()
    assert len(claims_of(cluster)) == 1


def test_the_pauses_grow_with_every_failure() -> None:
    cluster = provisioning()
    cluster.settle()
    (name,) = claims_of(cluster)
    claims_of(cluster).clear()
    pauses = []
    for count in (1, 2, 3, 20):
        cluster.events = [warning(name, "no capacity", "2026-11-21T09:00:00Z", count)]
        cluster.now = cluster.now.replace(minute=0, second=1)
        assert [a for a in cluster.plan() if isinstance(a, LookAgain)]
        assert not [a for a in cluster.plan() if isinstance(a, Apply)]
        cluster.settle()
        message = cluster.condition("NodeClaimReady")["message"]
        assert "no capacity" in message
        pauses.append(message.rpartition(" ")[2])
    assert pauses == [
        "2026-11-21T09:00:30Z.",
        "2026-11-21T09:01:00Z.",
        "2026-11-21T09:02:00Z.",
        "2026-11-21T09:15:00Z.",
    ]


def test_a_cloud_s_quota_is_in_the_condition() -> None:
    """KAITO #344: for two years the answer was `kubectl get machines -o yaml`."""
    cluster = provisioning()
    cluster.settle()
    fail(cluster, "QuotaExceeded: Standard NCASv3 Family, limit 0")
    cluster.settle()
    assert "limit 0" in cluster.condition("WorkspaceReady")["message"]


def test_without_karpenter_the_condition_says_so() -> None:
    cluster = provisioning()
    cluster.claims = None
    cluster.settle()
    assert cluster.reason("NodeClaimReady") == ("False", "KarpenterMissing")
    assert FINALIZER not in str(cluster.workspace)


def test_a_claim_that_the_api_server_turns_down_is_in_the_condition() -> None:
    cluster = provisioning()
    cluster.step()
    (claim,) = [a.object for a in cluster.plan() if isinstance(a, Apply)]
    name = claim["metadata"]["name"]
    cluster.rejected = (Rejected(kind="NodeClaim", name=name, message="nodeClassRef: invalid"),)
    cluster.step()
    for kind in ("NodeClaimReady", "ResourceReady"):
        assert cluster.reason(kind) == ("False", "WriteRejected")
        assert "nodeClassRef: invalid" in cluster.condition(kind)["message"]


def test_without_a_node_class_no_claim_is_made() -> None:
    cluster = provisioning()
    cluster.settings = Settings(provisioning=True)
    cluster.settle()
    assert cluster.reason("NodeClaimReady") == ("False", "NodeClassMissing")
    assert not claims_of(cluster)


def test_an_unknown_instance_type_names_the_nearest() -> None:
    cluster = provisioning(instanceType="g5.xlarg")
    cluster.settle()
    assert cluster.reason("ResourceReady") == ("False", "UnknownInstanceType")
    assert "g5.xlarge" in cluster.condition("ResourceReady")["message"]


def test_fewer_nodes_give_claims_back() -> None:
    cluster = provisioning(count=2)
    cluster.settle()
    launch(cluster)
    cluster.settle()
    assert len(claims_of(cluster)) == 2
    resource = {
        "count": 1,
        "instanceType": "g5.xlarge",
        "labelSelector": {"matchLabels": {"pool": "gpu"}},
    }
    cluster.edit(resource=resource)
    cluster.settle()
    assert len(claims_of(cluster)) == 1


def test_a_node_that_was_lost_is_replaced() -> None:
    cluster = provisioning()
    cluster.settle()
    launch(cluster)
    cluster.settle()
    cluster.now += timedelta(hours=2)
    claims_of(cluster).clear()
    cluster.nodes = [cpu_node()]
    for pod in cluster.pods.values():  # its replacement finds no node
        del pod["spec"]["nodeName"]
        pod["status"] = {
            "conditions": [
                {"type": "PodScheduled", "status": "False", "message": "no node"},
            ]
        }
    cluster.settle()
    assert len(claims_of(cluster)) == 1
    assert cluster.reason("ResourceReady") == ("False", "ClaimsPending")


def test_the_node_without_a_pod_of_ours_is_given_back_first() -> None:
    cluster = provisioning(count=2)
    cluster.settle()
    launch(cluster)
    cluster.settle()
    first, second = sorted(claims_of(cluster))
    for pod in cluster.pods.values():
        pod["spec"]["nodeName"] = f"node-{first}"
    resource = {
        "count": 1,
        "instanceType": "g5.xlarge",
        "labelSelector": {"matchLabels": {"pool": "gpu"}},
    }
    cluster.edit(resource=resource)
    cluster.settle()
    assert list(claims_of(cluster)) == [first]
    assert second not in claims_of(cluster)


def test_one_lost_node_of_several_is_replaced_and_the_others_kept() -> None:
    cluster = provisioning(count=2)
    cluster.settle()
    launch(cluster)
    cluster.settle()
    first, second = sorted(claims_of(cluster))
    kept = claims_of(cluster)[first]
    del claims_of(cluster)[second]
    cluster.nodes = [n for n in cluster.nodes if n["metadata"]["name"] != f"node-{second}"]
    for pod in cluster.pods.values():
        if pod["spec"]["nodeName"] == f"node-{second}":
            del pod["spec"]["nodeName"]
    cluster.settle()
    assert sorted(claims_of(cluster)) == [first, second]
    assert claims_of(cluster)[first] is kept


def test_a_claim_of_another_workspace_is_not_ours() -> None:
    cluster = provisioning()
    other: Object = {
        "metadata": {
            "name": "other",
            "uid": "o",
            "labels": {"kaito.sh/workspace": "falcon", "kaito.sh/workspacenamespace": "elsewhere"},
        }
    }
    claims_of(cluster)["other"] = other
    cluster.settle()
    assert len(claims_of(cluster)) == 2
    assert claims_of(cluster)["other"] is other


def test_the_finalizer_goes_when_nothing_is_provisioned_any_more() -> None:
    """Otherwise nobody could delete the Workspace once the controller is gone."""
    cluster = provisioning()
    cluster.settle()
    assert FINALIZER in str(cluster.workspace)
    labels = {"node.kubernetes.io/instance-type": "g5.xlarge"}
    cluster.nodes = [gpu_node("own", 1, *A10G, labels=labels)]
    claims_of(cluster).clear()
    cluster.settings = Settings()
    cluster.settle()
    assert cluster.reason("WorkspaceReady")[0] == "True"
    assert FINALIZER not in str(cluster.workspace)


def test_the_finalizer_stays_while_a_claim_is_there() -> None:
    cluster = provisioning()
    cluster.settle()
    cluster.settings = Settings()
    cluster.settle()
    assert FINALIZER in str(cluster.workspace)
    assert len(claims_of(cluster)) == 1


def deleting(cluster: Cluster) -> Cluster:
    assert cluster.workspace
    cluster.workspace["metadata"]["deletionTimestamp"] = "2026-11-21T09:00:00Z"
    cluster.children.clear()
    return cluster


def test_all_claims_are_given_back_before_the_workspace_goes() -> None:
    cluster = provisioning(count=2)
    cluster.settle()
    launch(cluster)
    cluster.settle()
    actions = deleting(cluster).plan()
    assert [type(a) for a in actions[:3]] == [Delete, Delete, WriteStatus]
    cluster.step()
    assert cluster.reason("WorkspaceDeleting") == ("True", "Deleting")
    assert cluster.reason("WorkspaceReady") == ("False", "Deleting")
    cluster.settle()
    assert cluster.workspace is None


def test_a_claim_that_is_still_going_is_waited_for() -> None:
    cluster = provisioning()
    cluster.settle()
    (claim,) = claims_of(cluster).values()
    claim["metadata"]["deletionTimestamp"] = "2026-11-21T09:00:00Z"
    deleting(cluster).step()
    assert cluster.workspace is not None
    assert not [a for a in cluster.plan() if isinstance(a, Delete | SetFinalizer)]
    claims_of(cluster).clear()
    cluster.settle()
    assert cluster.workspace is None


def test_a_template_gets_claims_as_well() -> None:
    limits = {"limits": {"nvidia.com/gpu": "1"}}
    template = {"spec": {"containers": [{"name": "x", "image": "x:1", "resources": limits}]}}
    cluster = provisioning(None, template=template)
    cluster.settle()
    assert len(claims_of(cluster)) == 1
    launch(cluster)
    cluster.settle()
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    assert [one["kind"] for one in made(cluster)][-1] == "StatefulSet"
