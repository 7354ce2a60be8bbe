"""UpToDate: whether what runs is what the Workspace, its ConfigMap and the chart ask for now.

Another question than whether it answers: an earlier version answers too.
"""

from __future__ import annotations

from berth.cluster.fields import Json, is_going, name_of, text, words
from berth.workspace.assess import Assessment
from berth.workspace.config_record import live_record
from berth.workspace.diff import was_applied
from berth.workspace.judgement import Judgement, no, yes
from berth.workspace.pods import is_ready
from berth.workspace.reasons import Reason
from berth.workspace.spec import Spec

REVISION = "controller-revision-hash"
_MOST = 5  # pods in one message


def up_to_date(found: Assessment, live: Json) -> Judgement:
    """Of a Workspace whose StatefulSet is there."""
    if found.behind is not None:
        return found.behind
    if not found.wanted or not isinstance(found.spec, Spec):
        return no(Reason.EarlierGeneration, "This generation is not deployed: see InferenceReady.")
    if is_going(live) or not was_applied(found.wanted_stateful_set, live):
        return no(Reason.RollingOut, "The StatefulSet is being brought to what is asked for.")
    revision = text(live, "status", "updateRevision")
    old = [pod for pod in found.pods if words(pod, "metadata", "labels").get(REVISION) != revision]
    if old:
        named = ", ".join(name_of(pod) for pod in old[:_MOST])
        return no(Reason.RollingOut, f"Still of an earlier version: {named}.")
    count = found.spec.count
    ready = sum(1 for pod in found.pods if is_ready(pod))
    if (ready, len(found.pods)) != (count, count):
        surplus = f", and {len(found.pods)} are there" if len(found.pods) > count else ""
        return no(Reason.Scaling, f"{ready} of {count} pods are ready{surplus}.")
    known = live_record(live)
    of = f" with {known}" if known is not None and known.name == found.spec.config else ""
    return yes(Reason.Current, f"Every pod is of the newest version{of}.")
