"""berth controller: keep every Workspace of a cluster as it was asked for."""

from __future__ import annotations

import logging
import os
import uuid
from pathlib import Path
from typing import Any, Literal, cast

import click

from berth.cluster.api_server import ClusterError
from berth.controller.leader import Term
from berth.controller.settings import ControllerSettings, SettingsError
from berth.workspace.observed import Settings

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_MODELS = Settings()


@click.command(context_settings={"auto_envvar_prefix": "BERTH_CONTROLLER"})
@click.option("--namespace", multiple=True, help="Namespace to watch; repeatable.  [default: all]")
@click.option("--provisioning", is_flag=True, help="Make Karpenter NodeClaims.")
@click.option("--node-class", metavar="GROUP/KIND/NAME", help="Node class of those NodeClaims.")
@click.option(
    "--runtime-image",
    default=_MODELS.runtime_image,
    show_default=True,
    help="Image of models without a GPU.",
)
@click.option(
    "--runtime-image-gpu",
    default=_MODELS.runtime_image_gpu,
    show_default=True,
    help="Image of models with GPUs.",
)
@click.option("--model-registry", default="", help="Registry of model images: REGISTRY/PRESET:TAG.")
@click.option(
    "--model-tag", default="", help="Tag of model images.  [default: as berth build tags them]"
)
@click.option(
    "--image-pull-policy",
    type=click.Choice(["Always", "IfNotPresent", "Never"]),
    default="IfNotPresent",
    show_default=True,
)
@click.option(
    "--network-policy/--no-network-policy", default=True, help="Give each model a network policy."
)
@click.option(
    "--grace-seconds",
    default=30,
    show_default=True,
    help="Seconds that running requests get when a pod ends.",
)
@click.option(
    "--storage-class", default="", help="Storage class of the weights' volume.  [default: emptyDir]"
)
@click.option(
    "--look-for-secrets/--no-look-for-secrets",
    default=False,
    help="Keep a pod that answers while a Secret of the new one is missing; needs get of Secrets.",
)
@click.option(
    "--max-restarts",
    type=click.IntRange(1, 1000),
    default=1,
    help="Workspaces that a change of the chart restarts at the same time.",
)
@click.option("--api-key-secret", default="", help="A Secret with BERTH_API_KEY, beside models.")
@click.option(
    "--lease/--no-lease", default=True, help="Let one of several controllers work at a time."
)
@click.option("--lease-namespace", help="[default: the controller's own]")
@click.option("--lease-name", default="berth-controller", show_default=True)
@click.option(
    "--lease-duration", default=8.0, show_default=True, help="Seconds that the lease is valid."
)
@click.option(
    "--lease-renew",
    default=5.0,
    show_default=True,
    help="Seconds without a renewal until it gives the lease up.",
)
@click.option("--lease-retry", default=1.5, show_default=True, help="Seconds between two attempts.")
@click.option(
    "--identity",
    help="Name of this controller in the lease.  [default: host name and a random part]",
)
@click.option(
    "--workers", default=4, show_default=True, help="Workspaces handled at the same time."
)
@click.option("--resync", default=300.0, show_default=True, help="Seconds between full listings.")
@click.option(
    "--grace",
    default=15.0,
    show_default=True,
    help="Seconds that the controller takes at most to end.",
)
@click.option(
    "--host", default="0.0.0.0", show_default=True, help="Address for health and metrics."
)
@click.option(
    "--port", default=8080, show_default=True, help="Port for health and metrics; 0: any."
)
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Default: as kubectl's.")
@click.option("--kube-context", help="A context of the kubeconfig.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning"]), default="info")
@click.pass_context
def controller(ctx: click.Context, /, **options: Any) -> None:
    """Keep every Workspace of a cluster as it was asked for, until SIGTERM.

    Every option may also be an environment variable: BERTH_CONTROLLER_ and its name, as
    BERTH_CONTROLLER_LEASE_NAMESPACE. Several namespaces are separated by spaces there.
    """
    from berth.controller.logs import configure_logging
    from berth.controller.run import run

    try:
        settings = settings_of(options)
    except (SettingsError, ValueError) as error:
        raise click.UsageError(str(error), ctx) from error
    level = getattr(logging, options["log_level"].upper())
    configure_logging(cast(Literal["text", "json"], options["log_format"]), level)
    try:
        run(settings)
    except ClusterError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        where = f"{settings.host} port {settings.port}"
        said = os.strerror(error.errno) if error.errno else str(error)
        raise click.ClickException(
            f"cannot listen on {where}: {said}; --host and --port name another place"
        ) from error


def settings_of(options: dict[str, Any]) -> ControllerSettings:
    """The options of the command as settings. Raises SettingsError, ValueError."""
    return ControllerSettings(
        namespaces=tuple(options["namespace"]),
        workspace=Settings(
            provisioning=options["provisioning"],
            node_class=_node_class(options["node_class"]),
            runtime_image=options["runtime_image"],
            runtime_image_gpu=options["runtime_image_gpu"],
            model_registry=options["model_registry"],
            model_tag=options["model_tag"],
            image_pull_policy=options["image_pull_policy"],
            network_policy=options["network_policy"],
            grace_seconds=options["grace_seconds"],
            storage_class=options["storage_class"],
            api_key_secret=options["api_key_secret"],
            max_restarts=options["max_restarts"],
            look_for_secrets=options["look_for_secrets"],
        ),
        lease=options["lease"],
        lease_namespace=options["lease_namespace"] or _own_namespace(),
        lease_name=options["lease_name"],
        identity=options["identity"] or f"{os.uname().nodename}_{uuid.uuid4().hex[:8]}",
        term=Term(
            duration=options["lease_duration"],
            renew=options["lease_renew"],
            retry=options["lease_retry"],
        ),
        workers=options["workers"],
        resync=options["resync"],
        grace=options["grace"],
        host=options["host"],
        port=options["port"],
        kubeconfig=options["kubeconfig"],
        context=options["kube_context"],
    )


def _node_class(text: str | None) -> dict[str, str] | None:
    if not text:
        return None
    parts = text.split("/")
    if len(parts) != 3 or not all(parts):
        raise SettingsError(f"node-class {text!r} should be GROUP/KIND/NAME")
    return dict(zip(("group", "kind", "name"), parts, strict=True))


def _own_namespace() -> str:
    try:
        return _OWN_NAMESPACE.read_text().strip()
    except OSError:
        return "default"
