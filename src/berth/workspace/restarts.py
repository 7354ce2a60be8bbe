"""Whether pods that answer may be ended for new ones now, or are kept, and why.

They are kept while something that the new ones need is not there, and while it is another
Workspace's turn: a change of the chart concerns every Workspace, and must not restart all at once.
"""

from __future__ import annotations

from dataclasses import replace

from berth.cluster.fields import Json, condition, is_going, mapping, text, whole, words
from berth.workspace import names
from berth.workspace.assess import Assessment, workspace_digest
from berth.workspace.diff import must_be_made_anew
from berth.workspace.judgement import Judgement, no
from berth.workspace.needs import Need, needs_of
from berth.workspace.objects.wanted import version_of
from berth.workspace.pods import is_ready
from berth.workspace.reasons import Reason
from berth.workspace.surge import surge_judgement, with_surge

_MOST = 5  # names in one message


def consider(found: Assessment) -> Assessment:
    """The assessment, with what is wanted unchanged if pods that answer are to be kept."""
    live = found.stateful_set
    if live is None or is_going(live) or not found.wanted:
        return found
    if not _restarts(found, live) or not any(is_ready(pod) for pod in found.pods):
        # If nothing answers, there is nothing to lose.
        return with_surge(found, live, restarts=_restarts(found, live))
    looked = found.observed.absent
    if looked is None:
        needs = needs_of(mapping(found.wanted_stateful_set, "spec", "template", "spec"))
        if not found.observed.settings.look_for_secrets:  # the controller may not then
            needs = tuple(one for one in needs if one.kind != "Secret")
        if needs:
            return replace(found, looks_for=needs)
    elif looked:
        return _kept(found, live, no(Reason.NeedsMissing, _missing(found, looked)))
    if not _is_the_chart_s(found, live):
        return _rolling(found, live)
    others = found.observed.restarting
    begun = found.surge_live is not None
    if len(others) >= found.observed.settings.max_restarts and not begun:
        told = f"{', '.join(others[:_MOST])} {'is' if len(others) == 1 else 'are'} brought up first"
        return _kept(found, live, no(Reason.WaitsForTurn, f"{told}; this Workspace follows."))
    return _rolling(replace(found, takes_turn=True), live)


def _rolling(found: Assessment, live: Json) -> Assessment:
    """The new pod first, if there is room for both."""
    rolled = with_surge(found, live, restarts=True)
    if not rolled.waits_for_surge or not _asks_the_same(found, live):
        return rolled
    why = no(Reason.RollingOut, surge_judgement(rolled).message)
    return replace(_kept(rolled, live, why), waits_for_surge=False)


def _restarts(found: Assessment, live: Json) -> bool:
    wanted = found.wanted_stateful_set
    return must_be_made_anew(wanted, live) or version_of(wanted) != version_of(live)


def _asks_the_same(found: Assessment, live: Json) -> bool:
    """Whether what runs was made for the Workspace as it is now."""
    written = words(live, "metadata", "annotations").get(names.ASKED)
    if written is not None:
        return written == workspace_digest(found.observed.workspace)
    # Made by an earlier controller, which said so only in the status.
    told = condition(found.observed.workspace, "InferenceReady")
    return (text(told, "status"), whole(told, "observedGeneration")) == (
        "True",
        found.who.generation,
    )


def _is_the_chart_s(found: Assessment, live: Json) -> bool:
    """Whether neither the Workspace nor its ConfigMap asks for the restart."""
    wanted = words(found.wanted_stateful_set, "metadata", "annotations").get(names.CONFIG)
    config = words(live, "metadata", "annotations").get(names.CONFIG)
    return _asks_the_same(found, live) and (wanted == config or config is None)


def _kept(found: Assessment, live: Json, why: Judgement) -> Assessment:
    """If the pods still are what the Workspace asks for, they are judged as such."""
    if not _asks_the_same(found, live):
        return replace(found, wanted=(), behind=why)
    wanted = (dict(live) if one["kind"] == "StatefulSet" else one for one in found.wanted)
    return replace(found, wanted=tuple(wanted), behind=why)


def _missing(found: Assessment, absent: tuple[Need, ...]) -> str:
    named = ", ".join(str(one) for one in absent[:_MOST])
    is_are, it = ("is", "it") if len(absent) == 1 else ("are", "them")
    return (
        f"{named} {is_are} not in namespace {found.who.namespace}, and the new pods need {it}. "
        f"Create {it}; until then the pods of before go on."
    )
