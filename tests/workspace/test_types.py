"""Any object at all is a Workspace or a sentence, and the two ways of asking the rules agree."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berth.workspace.parse import WorkspaceError, parse_status, parse_workspace
from berth.workspace.types import Status
from berth.workspace.validate import complaints, refusals
from workspace.admission import ApiServer, Refused
from workspace.manifests import ABSENT, Json, changed, crd, preset, template

SERVER = ApiServer(crd(), "v1beta1")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)
NAMES = st.sampled_from(["", "a", "llama-2-7b", "Llama-2-7B", "a/b", "A b", "-", "a" * 300, "a\n"])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "metadata.name": NAMES,
    "resource.count": st.integers(-1, 3) | st.just(2000),
    "resource.instanceType": NAMES,
    "resource.preferredNodes": st.lists(NAMES, max_size=2),
    "resource.partition": st.just({"mode": "mig"}) | st.just({}),
    "resource.labelSelector": st.fixed_dictionaries(
        {},
        optional={
            "matchLabels": st.dictionaries(NAMES, NAMES, max_size=2),
            "matchExpressions": st.lists(
                st.fixed_dictionaries(
                    {"key": NAMES, "operator": st.sampled_from(["In", "NotIn", "Exists", "x"])},
                    optional={"values": st.lists(NAMES, max_size=2)},
                ),
                max_size=2,
            ),
        },
    ),
    "inference": st.just({}),
    "inference.preset": st.fixed_dictionaries({"name": NAMES}),
    "inference.preset.name": NAMES,
    "inference.preset.accessMode": st.sampled_from(["public", "private", "x"]),
    "inference.preset.presetOptions": st.fixed_dictionaries(
        {},
        optional={
            "image": NAMES,
            "imagePullSecrets": st.lists(NAMES, max_size=2),
            "modelAccessSecret": NAMES,
        },
    ),
    "inference.config": NAMES,
    "inference.adapters": st.lists(st.just({"source": {"name": "a"}}), max_size=1),
    "inference.template": st.just(template()["inference"]["template"])
    | st.just({"spec": {"containers": []}}),
    "tuning": st.just({}) | st.just({"method": "lora"}),
}


@st.composite
def manifests(draw: st.DrawFn) -> Json:
    """A good one with some of its fields made anew, taken away or set to null."""
    manifest = draw(st.sampled_from([preset(), template()]))
    for path in draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=3, unique=True)):
        value = draw(FIELDS[path] | st.none() | st.just(ABSENT))
        try:
            manifest = changed(manifest, path, value)
        except (KeyError, TypeError):
            continue  # what it is part of was taken away before
    return manifest


@settings(max_examples=400, deadline=None, derandomize=True)
@given(manifests())
def test_berth_refuses_what_the_api_server_refuses_in_the_rules_own_words(manifest: Json) -> None:
    _agree(complaints(manifest), manifest, None)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(manifests(), manifests())
def test_so_it_does_with_changes(new: Json, old: Json) -> None:
    try:
        stored = SERVER.admit(old)
    except Refused:
        return
    _agree(complaints(new, parse_workspace(stored)), new, stored)


def _agree(found: tuple[str, ...], manifest: Json, old: Json | None) -> None:
    refused = _refusal(manifest, old)
    assert bool(found) == (refused is not None)
    if refused is None:
        return
    try:
        workspace = parse_workspace(refused.manifest)
    except WorkspaceError:
        return  # of the wrong shape: then we ask no rules, and the API server only some
    before = None if old is None else parse_workspace(old)
    ours = [(refusal.field, refusal.message) for refusal in refusals(workspace, before)]
    assert not refused.blocking
    assert sorted(ours) == sorted(refused.rules)


def _refusal(manifest: Json, old: Json | None) -> Refused | None:
    try:
        SERVER.admit(manifest, old)
    except Refused as refused:
        return refused
    return None


@settings(max_examples=300, deadline=None, derandomize=True)
@given(JSON)
def test_any_object_is_a_workspace_or_a_sentence(value: Any) -> None:
    with suppress(WorkspaceError):
        parse_workspace(value)
    assert all(sentence.strip() for sentence in complaints(value))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(FIELDS)), JSON)
def test_so_is_any_value_of_any_field(path: str, value: Any) -> None:
    manifest = changed(preset(), path, value)
    try:
        workspace = parse_workspace(manifest)
    except WorkspaceError as error:
        named = error.field
    else:
        named = path
        refusals(workspace, workspace)
    assert named.startswith(path.split(".")[0])


def test_nesting_without_end_is_a_sentence() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(WorkspaceError, match="resource"):
        parse_workspace({"resource": deep})
    assert complaints(changed(preset(), "tuning", deep)) == ("the manifest is nested too deeply",)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("resource.count", "2", "resource.count should be a whole number, and is a string"),
        ("resource.count", 0, "resource.count should be at least 1"),
        ("resource", ABSENT, "resource is required"),
        ("inference.preset.name", "", "inference.preset.name should not be empty"),
        ("inference.preset.accessMode", "all", "inference.preset.accessMode cannot be 'all'"),
        (
            "resource.labelSelector.matchLabels",
            {7: "a"},
            "resource.labelSelector.matchLabels should have keys that are strings, "
            "none of them too long",
        ),
    ],
)
def test_a_sentence_says_what_would_be_right(path: str, value: Any, sentence: str) -> None:
    with pytest.raises(WorkspaceError) as raised:
        parse_workspace(changed(preset(), path, value))
    assert str(raised.value) == sentence
    assert sentence.startswith(raised.value.field)


def test_both_forms_of_a_selector_are_labels() -> None:
    selector = {
        "matchLabels": {"a": "1"},
        "matchExpressions": [{"key": "b", "operator": "In", "values": ["2"]}],
    }
    workspace = parse_workspace(changed(preset(), "resource.labelSelector", selector))
    assert workspace.resource.label_selector.labels == {"a": "1", "b": "2"}


def test_an_object_without_status_has_an_empty_one() -> None:
    assert parse_status(preset()) == Status()
    assert parse_status(preset() | {"status": None}) == Status()


@pytest.mark.parametrize("status", [7, {"conditions": [{"type": "a"}]}, {"fit": {"accepted": 1}}])
def test_an_odd_status_is_a_sentence(status: Any) -> None:
    with pytest.raises(WorkspaceError, match=r"^status"):
        parse_status(preset() | {"status": status})
