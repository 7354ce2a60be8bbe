"""Why a NodeClaim becomes no node is in the condition; it is tried again, ever less often."""

from __future__ import annotations

from datetime import timedelta

from berth.workspace.actions import Apply, LookAgain
from berth.workspace.observed import Rejected, Settings
from workspace.provisioning import FINALIZER, claims_of, provisioning
from workspace.worlds import Cluster, Object


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
