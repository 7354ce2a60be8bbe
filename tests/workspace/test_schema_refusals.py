"""A Workspace with any one field wrong is refused, in a sentence that names the field: by the API
server's schema and rules, and by Berth without an API server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from berth.workspace.cel import RULES
from berth.workspace.parse import parse_workspace
from berth.workspace.types import VERSIONS
from berth.workspace.validate import complaints, refusals
from workspace.admission import ApiServer, Refused
from workspace.manifests import ABSENT, Json, changed, crd, preset, template
from workspace.wrong_fields import cases

SERVERS = {version: ApiServer(crd(), version) for version in VERSIONS}
WRONG = [pytest.param(*case[1:], id=case[0]) for case in cases()]


IMMUTABLE = "field is immutable"
TOGGLED = "field cannot be unset/set if it was set/unset"
_TEMPLATE = template()["inference"]["template"]
CHANGES: list[tuple[Json, Json, str]] = [
    (preset(), changed(preset(), "resource.instanceType", "g6.xlarge"), "resource.instanceType"),
    (preset(), changed(preset(), "resource.instanceType", ABSENT), "resource.instanceType"),
    (
        changed(preset(), "resource.instanceType", ABSENT),
        preset(),
        "resource.instanceType",
    ),
    (
        preset(),
        changed(preset(), "resource.labelSelector.matchLabels.apps", "other"),
        "resource.labelSelector",
    ),
    (
        preset(),
        changed(preset(), "resource.labelSelector.matchLabels", ABSENT),
        "resource.labelSelector",
    ),
    (
        preset(),
        changed(preset(), "inference.preset.name", "llama-2-13b-chat"),
        "inference.preset.name",
    ),
    (
        template(),
        changed(template(), "inference", {"preset": {"name": "pocket"}}),
        "inference.preset",
    ),
]


def refused(server: ApiServer, manifest: Json, old: Json | None = None) -> list[str]:
    with pytest.raises(Refused) as raised:
        server.admit(manifest, old)
    return raised.value.sentences


def test_there_are_enough_cases() -> None:
    assert len(WRONG) >= 60
    assert len({case.id for case in WRONG}) == len(WRONG)


@pytest.mark.parametrize("whole", [preset, template])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_whole_one_is_accepted(whole: Callable[[str], Json], version: str) -> None:
    manifest = whole(version)
    assert SERVERS[version].admit(manifest)["resource"]["count"] == 1
    assert complaints(manifest) == ()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("manifest", "field", "sentence"), WRONG)
def test_the_api_server_refuses_it(manifest: Json, field: str, sentence: str, version: str) -> None:
    manifest = _of(manifest, version)
    found = refused(SERVERS[version], manifest)
    named = [text for text in found if field in text or field in ("apiVersion", "kind")]
    assert named, found
    assert any(sentence in text for text in named), found


@pytest.mark.parametrize(("manifest", "field", "sentence"), WRONG)
def test_berth_refuses_it_without_an_api_server(manifest: Json, field: str, sentence: str) -> None:
    found = complaints(manifest)
    named = [text for text in found if field in text]
    assert named, found
    assert any(sentence in text for text in named), found


def test_every_rule_is_broken_by_some_case() -> None:
    said = " ".join(text for _, manifest, _, _ in cases() for text in complaints(manifest))
    said += " ".join(
        str(r)
        for old, new, _ in CHANGES
        for r in refusals(parse_workspace(new), parse_workspace(old))
    )
    assert [rule.message for rule in RULES if rule.message not in said] == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("old", "new", "field"), [pytest.param(*c, id=f"{i} {c[2]}") for i, c in enumerate(CHANGES)]
)
def test_what_is_immutable_stays(old: Json, new: Json, field: str, version: str) -> None:
    old, new = _of(old, version), _of(new, version)
    found = refused(SERVERS[version], new, SERVERS[version].admit(old))
    assert f"{field}: Invalid value: {IMMUTABLE}" in found
    assert f"{field}: {IMMUTABLE}" in [
        str(r) for r in refusals(parse_workspace(new), parse_workspace(old))
    ]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_template_is_not_set_or_unset(backwards: bool) -> None:
    pair = [preset(), changed(preset(), "inference", {"template": _TEMPLATE})]
    old, new = reversed(pair) if backwards else pair
    server = SERVERS["v1beta1"]
    assert f"inference.template: Invalid value: {TOGGLED}" in refused(
        server, new, server.admit(old)
    )
    found = [str(r) for r in refusals(parse_workspace(new), parse_workspace(old))]
    assert f"inference.template: {TOGGLED}" in found


@pytest.mark.parametrize(
    ("old", "path", "value"),
    [
        (preset(), "resource.count", 2),
        (preset(), "resource.preferredNodes", ["gpu-2"]),
        (preset(), "inference.preset.name", "Llama-2-7B-chat"),
        (preset(), "inference.preset.accessMode", "public"),
        (preset(), "inference.preset.presetOptions.image", "registry.example.com/other:2"),
        (preset(), "inference.preset.presetOptions.imagePullSecrets", ["other"]),
        (preset(), "inference.preset.presetOptions.modelAccessSecret", ABSENT),
        (preset(), "inference.config", ABSENT),
        (preset(), "metadata.labels", {"team": "a"}),
        (preset(), "status", {"targetNodeCount": 1}),
        (template(), "inference.template.spec.containers[0].image", "nginx:2"),
        (template(), "resource.count", 3),
        (template(), "resource.labelSelector.matchExpressions", []),
    ],
)
def test_what_may_change_may_change(old: Json, path: str, value: object) -> None:
    new = changed(old, path, value)
    server = SERVERS["v1beta1"]
    server.admit(new, server.admit(old))
    assert refusals(parse_workspace(new), parse_workspace(old)) == ()


def test_an_unknown_field_is_dropped_where_nobody_asks_for_more() -> None:
    stored = SERVERS["v1beta1"].admit(changed(preset(), "spec", {"a": 1}), strict=False)
    assert "spec" not in stored


def test_what_berth_does_not_do_is_never_dropped_silently() -> None:
    for path in ("tuning", "resource.partition", "inference.adapters"):
        value = [{"source": {"name": "a"}}] if path.endswith("adapters") else {"a": 1}
        with pytest.raises(Refused, match=path):
            SERVERS["v1alpha1"].admit(changed(preset("v1alpha1"), path, value), strict=False)


def test_an_open_part_keeps_what_it_holds() -> None:
    stored = SERVERS["v1beta1"].admit(template())
    assert stored["inference"] == template()["inference"]


def _of(manifest: Json, version: str) -> Json:
    """The same in another version, but where the version is what is wrong with it."""
    if manifest.get("apiVersion") != "kaito.sh/v1beta1":
        return manifest
    return changed(manifest, "apiVersion", f"kaito.sh/{version}")
