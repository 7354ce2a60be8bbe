"""A NodeClaim is kept while its node is used, replaced when that is lost, else given back."""

from __future__ import annotations

from datetime import timedelta

from berth.workspace.actions import Delete, SetFinalizer, WriteStatus
from berth.workspace.observed import Settings
from workspace.provisioning import A10G, FINALIZER, claims_of, launch, provisioning
from workspace.worlds import Cluster, cpu_node, gpu_node


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


def ask_for_one_node(cluster: Cluster) -> None:
    resource = {
        "count": 1,
        "instanceType": "g5.xlarge",
        "labelSelector": {"matchLabels": {"pool": "gpu"}},
    }
    cluster.edit(resource=resource)


def test_fewer_nodes_give_claims_back() -> None:
    cluster = provisioning(count=2)
    cluster.settle()
    launch(cluster)
    cluster.settle()
    assert len(claims_of(cluster)) == 2
    ask_for_one_node(cluster)
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
    ask_for_one_node(cluster)
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
