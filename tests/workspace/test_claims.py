"""NodeClaims are made only for what fits and has no node yet, and once each."""

from __future__ import annotations

import pytest

from berth.workspace.actions import Apply, SetFinalizer
from berth.workspace.observed import Settings
from workspace.provisioning import A10G, CLASS, FINALIZER, claims_of, launch, provisioning
from workspace.worlds import Cluster, Object, gpu_node


def made(cluster: Cluster) -> list[Object]:
    return [a.object for a in cluster.log if isinstance(a, Apply) and a.uid is None]


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


def test_a_plan_on_an_old_cache_makes_the_same_claim_again_and_not_a_second_one() -> None:
    cluster = provisioning()
    cluster.step()
    first = [a.object for a in cluster.plan() if isinstance(a, Apply)]
    again = [a.object for a in cluster.plan() if isinstance(a, Apply)]
    assert first == again
    assert len(first) == 1


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
