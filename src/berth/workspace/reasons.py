"""Every reason that a condition can have, with its cause and its cure: a closed list.

docs/conditions.md is made of it: `python -m berth.workspace.reasons > docs/conditions.md`.
"""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """One reason: where it appears, what it means, what to do about it."""

    def __init__(self, condition: str, cause: str, cure: str) -> None:
        self.condition = condition
        self.cause = cause
        self.cure = cure

    @property
    def code(self) -> str:
        """What stands in the condition."""
        return self.name

    # What the Workspace itself says.
    SpecInvalid = (
        "all",
        "The Workspace contradicts itself or has a field of the wrong form.",
        "The message names the field and what would be right. Correct it and apply again.",
    )
    UnknownPreset = (
        "all",
        "The catalogue has no preset of this name, and no preset with this hub id.",
        "`berth presets` lists them; the message names the nearest.",
    )
    NoEngine = (
        "all",
        "The catalogue knows the model, but no engine of Berth runs it yet.",
        "Choose another preset, or serve it with a pod of your own in inference.template.",
    )
    NotSupported = (
        "all",
        "The Workspace asks for something that Berth does not do: adapters, tuning, partitions.",
        "Leave the field out. Adapters can be merged into the weights beforehand.",
    )
    UnknownInstanceType = (
        "all",
        "Nodes should be provisioned, and the instance type is not in Berth's table.",
        "The message names the nearest known ones. For own nodes leave instanceType empty.",
    )
    ConfigMissing = (
        "all, UpToDate",
        "The ConfigMap that inference.config names is not in the Workspace's namespace.",
        "Create it; the Workspace then goes on. A model that ran goes on meanwhile.",
    )
    ConfigInvalid = (
        "all, UpToDate",
        "The ConfigMap has a key that is no option of the server, or a value out of its range.",
        "The message names the key. Correct the ConfigMap; a model that ran goes on meanwhile.",
    )
    SizeUnknown = (
        "all",
        "The catalogue does not know the model's numbers, so nothing can be measured.",
        "Choose a preset whose size is known, or a pod of your own in inference.template.",
    )

    # Fits.
    FitsNodes = (
        "Fits",
        "The model fits the nodes, with the whole context that it is made for.",
        "None needed.",
    )
    FitsWithLess = (
        "Fits",
        "The model fits with a shorter context than it is made for; the message says how long.",
        "None needed. A larger GPU, or more of them, gives the whole context.",
    )
    DoesNotFit = (
        "Fits, ResourceReady",
        "The model does not fit any of the nodes. Nothing was created for this generation.",
        "The message has every term and the smallest change that helps.",
    )
    NothingToMeasure = (
        "Fits",
        "There is no node whose memory is known.",
        "See ResourceReady.",
    )
    NotMeasured = (
        "Fits",
        "inference.template is a pod of your own; Berth does not know what it needs.",
        "None needed.",
    )

    # Nodes.
    NodesReady = (
        "ResourceReady",
        "The nodes are there and Ready.",
        "None needed.",
    )
    NoNodes = (
        "ResourceReady",
        "The cluster has no nodes, or only such as belong to other Workspaces.",
        "Add nodes, or let the chart provision them (provisioning).",
    )
    NoMatchingNode = (
        "ResourceReady",
        "No node has the labels of labelSelector, or the instance type.",
        "Compare the message with `kubectl get nodes --show-labels`.",
    )
    NoGpuNode = (
        "ResourceReady",
        "None of the nodes that match has a GPU.",
        "Add a GPU node, or change labelSelector.",
    )
    NodeNotReady = (
        "ResourceReady",
        "A node that is needed is not Ready, or is gone.",
        "`kubectl describe node` of the node that the message names.",
    )
    NodeCordoned = (
        "ResourceReady",
        "The nodes that match are cordoned.",
        "`kubectl uncordon` them, or wait until their maintenance is over.",
    )
    NodeTainted = (
        "ResourceReady",
        "The nodes that match have a taint that the pods do not tolerate.",
        "Use the taint sku=gpu:NoSchedule or nvidia.com/gpu, or remove it.",
    )
    DevicePluginMissing = (
        "ResourceReady",
        "The nodes have GPUs, but do not offer them as nvidia.com/gpu.",
        "Install the NVIDIA device plugin or the GPU operator; look at its pods on the node.",
    )
    GpuUnknown = (
        "ResourceReady",
        "Which GPU the nodes have is not known.",
        "Install GPU Feature Discovery, which writes the labels nvidia.com/gpu.product and memory.",
    )
    NodesTaken = (
        "ResourceReady",
        "The nodes are large enough, but other pods use their GPUs or memory.",
        "Wait, or free a node. Berth looks again on its own.",
    )
    TooFewNodes = (
        "ResourceReady",
        "Some nodes can run it, but fewer than resource.count.",
        "Add nodes, or lower resource.count.",
    )
    Unschedulable = (
        "ResourceReady, InferenceReady",
        "The scheduler finds no node for a pod; the message is the scheduler's.",
        "Often the node was taken between the check and the start. Free it, or add one.",
    )
    QuotaExceeded = (
        "ResourceReady, InferenceReady",
        "A ResourceQuota of the namespace does not let the pods in.",
        "Raise the quota; the message says which and by how much.",
    )
    PodsRefused = (
        "ResourceReady, InferenceReady",
        "The API server does not let the pods in: an admission policy, a webhook, a LimitRange.",
        "The message quotes it.",
    )

    # NodeClaims.
    NoClaimsNeeded = (
        "NodeClaimReady",
        "The nodes that are already there are enough.",
        "None needed.",
    )
    ClaimsReady = ("NodeClaimReady", "Every NodeClaim has become a node.", "None needed.")
    ClaimsPending = (
        "NodeClaimReady, ResourceReady",
        "NodeClaims were made, and their nodes are being started.",
        "Wait some minutes; the message says how far each one is.",
    )
    ClaimLaunchFailed = (
        "NodeClaimReady, ResourceReady",
        "The cloud does not start the node: no capacity, no quota, or a wrong node class.",
        "The message quotes the cloud. Berth tries again, after a longer pause each time.",
    )
    KarpenterMissing = (
        "NodeClaimReady, ResourceReady",
        "Nodes should be provisioned, and the cluster has no karpenter.sh/v1 NodeClaim.",
        "Install Karpenter, or add nodes with the labels of labelSelector.",
    )
    NodeClassMissing = (
        "NodeClaimReady, ResourceReady",
        "Nodes should be provisioned, and the chart does not say with which node class.",
        "Set the chart's node class.",
    )

    # The objects.
    NameTaken = (
        "InferenceReady",
        "An object of the name that is needed has another owner. It is not touched.",
        "Delete or rename it, or give the Workspace another name; the message says whose it is.",
    )
    WriteRejected = (
        "InferenceReady, NodeClaimReady, ResourceReady",
        "The API server refused a write; the message quotes it.",
        "Often another manager owns the field that it names. Leave the field to one of them.",
    )
    NotDeployed = (
        "InferenceReady",
        "Nothing was created, because of what the other conditions say.",
        "See Fits and ResourceReady.",
    )
    EarlierGeneration = (
        "InferenceReady, UpToDate",
        "This generation cannot be deployed; what was deployed before it stays.",
        "See Fits and ResourceReady. Delete the Workspace to end what is still running.",
    )
    Deploying = (
        "ResourceReady, InferenceReady",
        "The objects or the pods are being created.",
        "Wait some seconds.",
    )
    RollingOut = (
        "InferenceReady, UpToDate",
        "Pods are being replaced by those of the newest version.",
        "Wait; the old ones may still answer.",
    )

    # The pods.
    Answering = ("InferenceReady", "Every pod is ready: the model answers.", "None needed.")
    Starting = (
        "InferenceReady",
        "The pods pull their image or weights, or load the model.",
        "Wait; large weights take minutes. `kubectl logs` shows the progress.",
    )
    StartupTimedOut = (
        "InferenceReady",
        "A pod is not ready after the time that such a model needs.",
        "`kubectl logs` of the pod; a slow hub or a slow disk are the usual causes.",
    )
    NotAnswering = (
        "InferenceReady",
        "A pod runs, was ready, and does not answer its readiness probe any more.",
        "The engine may be restarting. `kubectl logs` of the pod.",
    )
    ImagePullError = (
        "InferenceReady",
        "The image cannot be pulled.",
        "Check its name and presetOptions.imagePullSecrets; the message is the kubelet's.",
    )
    ContainerConfigError = (
        "InferenceReady",
        "The container cannot be made: a Secret or its key is missing, or the runtime fails.",
        "Create what the message names, or look at the node's container runtime.",
    )
    ContainerCrashLoopBackOff = (
        "InferenceReady",
        "The container ends again and again; the message has its exit code and last words.",
        "`kubectl logs --previous` of the pod.",
    )
    ContainerRestarting = (
        "InferenceReady",
        "The container ended, and is started again; the message has how it ended.",
        "Wait for it to be ready. If it ends again, `kubectl logs --previous` of the pod.",
    )
    ContainerOOMKilled = (
        "InferenceReady",
        "The container took more memory than it may, and was killed.",
        "Use nodes with more RAM, or a smaller model or context.",
    )
    VolumeError = (
        "InferenceReady",
        "A volume cannot be made, attached or mounted.",
        "The message quotes the storage; check the storage class.",
    )
    PodEvicted = (
        "InferenceReady",
        "The node refused or evicted the pod: short of disk or memory, or a lost device.",
        "Free the node, or choose one with more; Kubernetes starts the pod again.",
    )
    NodeLost = (
        "InferenceReady",
        "The pod's node is not Ready or gone, so the pod's state is not known.",
        "See ResourceReady.",
    )

    # Whether what runs is what is asked for.
    Current = (
        "UpToDate",
        "Every pod is of the newest version; the message names the ConfigMap and its version.",
        "None needed.",
    )
    Scaling = (
        "UpToDate",
        "Pods of the newest version are being started or ended; those that are ready answer.",
        "Wait. If a pod does not become ready, read its `kubectl logs`.",
    )
    ConfigDoesNotFit = (
        "UpToDate",
        "With the ConfigMap's options the model has no room; it goes on with the earlier ones.",
        "The message has every term. Ask for less in the ConfigMap, or add nodes.",
    )

    NeedsMissing = (
        "UpToDate",
        "Something that new pods need is not there: a Secret, a ConfigMap, a claim, an account.",
        "Create what the message names. The earlier pods are kept until it is there.",
    )
    WaitsForTurn = (
        "UpToDate",
        "A change of the chart restarts one Workspace after another; it is another one's turn.",
        "Wait. The others follow when it is ready, or after half an hour.",
    )

    # The Workspace as a whole.
    WorkspaceServes = (
        "WorkspaceReady, WorkspaceSucceeded",
        "It fits, the nodes are there, and the model answers.",
        "None needed.",
    )
    Deleting = (
        "WorkspaceDeleting and all others",
        "The Workspace is being deleted; it is gone once its NodeClaims are.",
        "Wait until the nodes are drained and ended. The message names the claims that are left.",
    )


_HEAD = """\
# Conditions of a Workspace

<!-- Made by `python -m berth.workspace.reasons`; a test holds it against the code. -->

`kubectl describe workspace NAME` shows them. Each is computed from what is observed of nodes, \
pods and events, never from what was done, and each carries the generation that it is about. \
The message has the words of the component that refused: the scheduler, the kubelet, the cloud.

| type | true when |
|---|---|
| Fits | the model fits the nodes, as `berth fit` says; Unknown if nothing can be measured |
| NodeClaimReady | every provisioned node is there; only if the chart provisions nodes |
| ResourceReady | the nodes are there, Ready, and take the pods |
| InferenceReady | every pod of the newest version is ready, and none crashes |
| UpToDate | what runs is what the Workspace, its ConfigMap and the chart ask for now; only once \
something runs. False while an earlier version answers, and it says why |
| WorkspaceReady | Fits (or not measured), ResourceReady and InferenceReady are |
| WorkspaceSucceeded | the same, under the name that KAITO gives it since v1beta1 |
| WorkspaceDeleting | it is being deleted |

KAITO's NodesReady, JobStarted and BenchmarkCompleted do not exist here: the first is part of \
ResourceReady, the others belong to what Berth does not do.

UpToDate takes nothing away from WorkspaceReady: a ConfigMap that cannot be used leaves the model \
as it is, and a model that gets more or fewer pods answers meanwhile.

WorkspaceReady has the reason and the message of what keeps it from being True: of Fits, else of \
NodeClaimReady, ResourceReady or InferenceReady.

A condition moves its lastTransitionTime only with its status. An event is written when a status \
or a reason changes, once for each reason.

## What follows from them

- **Fit comes first.** A Workspace that does not fit, or says something wrong, gets no object at \
all. If an earlier generation of it is running, that stays (InferenceReady: \
EarlierGeneration) until the new one can be deployed.
- **Then nodes, then the workload.** Objects are made once there is room for all pods; if the \
chart provisions, NodeClaims are made first, and only for what fits.
- **What was chosen stays.** How many GPUs a pod gets and how a model is split is written on the \
StatefulSet and chosen again only when the model, its options, the selector or the instance type \
change (of a model over several nodes, their number too). Nodes that come and go restart nothing.
- **One model over several nodes is replaced as a whole.** Pods of two versions could never meet. \
The same happens if a field of the StatefulSet differs that cannot be changed in Kubernetes.
- **The new pod first.** If a model of the catalogue has one pod and there is room for another, \
the new version starts in a second StatefulSet (`NAME-HASH-next`, label `berth/surge`) behind the \
same Service. Once it answers, the model's own pod is replaced; once that answers, the second one \
is deleted. A new pod that fails takes nothing away: the old one goes on, and InferenceReady says \
what is wrong. Without room, or if the scheduler or a quota refuses the second pod, the old pod is \
ended first.
- **Pods that answer are kept** while something that the new ones need is missing (NeedsMissing), \
and while a change of the chart is another Workspace's turn (WaitsForTurn).
- **Objects of another owner are not touched.** An object of the same name that this Workspace \
does not own (by uid) is left alone: NameTaken.
- **Claims are given back.** A finalizer holds a Workspace only while it has NodeClaims or is \
about to; it goes with the last of them, also if Karpenter is gone from the cluster.

## Reasons
"""


def page() -> str:
    """docs/conditions.md."""
    lines = [_HEAD, "| reason | condition | cause | cure |", "|---|---|---|---|"]
    lines += [f"| {r.code} | {r.condition} | {r.cause} | {r.cure} |" for r in Reason]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201  # the page is what this command is for
