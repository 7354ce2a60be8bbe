"""`berth controller`'s options: each wrong one is a sentence that names it."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from berth.cli.controller import controller, settings_of
from berth.controller.settings import ControllerSettings, SettingsError


def parsed(*arguments: str, **environment: str) -> ControllerSettings:
    with controller.make_context("controller", list(arguments)) as ctx:
        return settings_of(ctx.params)


def test_nothing_given_watches_everything_and_asks_for_the_lease() -> None:
    settings = parsed()
    assert settings.namespaces == ()
    assert settings.lease
    assert settings.workspace.provisioning is False
    assert settings.identity != parsed().identity, "two of them must not take each other's lease"


def test_every_option_has_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTH_CONTROLLER_NAMESPACE", "one two")
    monkeypatch.setenv("BERTH_CONTROLLER_LEASE_NAMESPACE", "berth")
    monkeypatch.setenv("BERTH_CONTROLLER_PROVISIONING", "true")
    monkeypatch.setenv("BERTH_CONTROLLER_NODE_CLASS", "karpenter.k8s.aws/EC2NodeClass/gpu")
    monkeypatch.setenv("BERTH_CONTROLLER_RUNTIME_IMAGE_GPU", "registry.example.com/berth:cuda")
    settings = parsed()
    assert settings.namespaces == ("one", "two")
    assert settings.lease_namespace == "berth"
    assert settings.workspace.node_class == {
        "group": "karpenter.k8s.aws",
        "kind": "EC2NodeClass",
        "name": "gpu",
    }
    assert settings.workspace.runtime_image_gpu == "registry.example.com/berth:cuda"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--namespace=Not_A_Name"], "namespace 'Not_A_Name' should be small letters"),
        (["--namespace=a", "--namespace=a"], "namespace: one is given twice"),
        (["--workers=0"], "workers is 0; it should be 1 to 64"),
        (["--resync=1"], "resync is 1; it should be 10 to 86400 seconds"),
        (["--port=70000"], "port is 70000; it should be 0 to 65535"),
        (["--grace=-1"], "grace is -1; it should be 0 seconds or more"),
        (["--provisioning"], "provisioning needs node-class, as GROUP/KIND/NAME"),
        (["--node-class=x/y"], "node-class 'x/y' should be GROUP/KIND/NAME"),
        (["--lease-renew=20"], "lease: retry, renew and duration should be seconds"),
        (["--lease-namespace=A"], "namespace 'A' should be small letters"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_wrong_option_is_named(arguments: list[str], said: str) -> None:
    answer = CliRunner().invoke(controller, arguments)
    assert answer.exit_code == 2
    assert said in answer.output


def test_an_empty_identity_is_refused() -> None:
    wrong: dict[str, Any] = {"identity": ""}
    with pytest.raises(SettingsError, match="identity should differ"):
        ControllerSettings(**wrong)


def test_no_cluster_is_a_sentence(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    answer = CliRunner().invoke(controller, [f"--kubeconfig={tmp_path / 'none'}"])
    assert answer.exit_code == 1
    assert "no cluster to ask" in answer.output
