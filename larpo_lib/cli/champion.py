"""Commands about the champion of a registered model: fetch it, and serve it in a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from larpo_lib.cli.app import TOOLS, Commands, Config, Settings, app, say
from larpo_lib.cli.commands import show
from larpo_lib.cli.registries import existing_registry
from larpo_lib.errors import ConfigError, TrackingError

champion_app = Commands(
    rich_markup_mode=None, no_args_is_help=True, help="Fetch or serve the champion of a registered model."
)
app.add_typer(champion_app, name="champion", rich_help_panel=TOOLS)

Name = Annotated[str, typer.Argument(help="Name of the registered model (promote.model_name).")]
Version = Annotated[int | None, typer.Option(min=1, help="Another version than the champion.")]
Store = Annotated[
    Path, typer.Option(help="Folder of a local MLflow store, such as runs/first/mlflow, used if no server is set.")
]
_STORE = Path("mlflow")


@champion_app.command()
def fetch(
    name: Name,
    out: Annotated[Path, typer.Option(help="Directory to write. It may contain the same policy already.")],
    version: Version = None,
    store: Store = _STORE,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Download the champion from MLflow, check its digest, and print which version it is."""
    from larpo_lib.artifacts import digest
    from larpo_lib.files import disk_errors, make_directory

    registry = existing_registry(store, config, settings or ())
    uri = _uri(name, version)
    found = registry.source(uri)
    if found.digest is None:
        raise TrackingError(f"{uri} was not registered by larpo, so it has no digest", remedy="Download it with MLflow")
    make_directory(out.absolute().parent)
    with disk_errors(out):
        registry.download(f"models:/{name}/{found.version}", out)
    show({"model": name, "version": found.version, "directory": str(out), "digest": digest(out)})


@champion_app.command()
def serve_manifest(
    name: Name,
    kserve: Annotated[
        bool, typer.Option("--kserve", help="A KServe InferenceService; the policy must be on s3://.")
    ] = False,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of the server.")] = 1,
    gpu_type: Annotated[str, typer.Option(help="Resource name of the cluster's GPUs.")] = "nvidia.com/gpu",
    memory: Annotated[str, typer.Option(help="Memory of the server's pod.")] = "64Gi",
    image: Annotated[
        str | None, typer.Option(help="Image with vLLM. Default: that of the version larpo is tested with.")
    ] = None,
    image_prefix: Annotated[str, typer.Option(help="Registry and folder of larpo's images. Empty: local ones.")] = "",
    image_tag: Annotated[str | None, typer.Option(help="Tag of larpo's images. Default: larpo's version.")] = None,
    service_account: Annotated[
        str,
        typer.Option(
            help="Service account of the server's pod, with access to the store. Default: larpo-serving; "
            "with --kserve, KServe's own."
        ),
    ] = "",
    version: Version = None,
    store: Store = _STORE,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Print a Kubernetes manifest that serves the champion: vLLM with a Service, or KServe.

    The manifest names the version that is champion now. It needs larpo's objects in the namespace: the ConfigMap
    larpo-env, the service account larpo-serving, and the Secrets larpo-s3 and larpo-mlflow where the store and MLflow
    ask for them. KServe uses none of these.
    """
    import yaml

    from larpo_lib import __version__
    from larpo_lib.kubernetes.serving import ACCOUNT, VLLM, Served, deployment, inference_service

    registry = existing_registry(store, config, settings or ())
    found = registry.source(_uri(name, version))
    served = Served(name, found.version, found.policy_location, found.digest or "", gpus, gpu_type, memory)
    if kserve:
        documents = [inference_service(served, service_account)]
    else:
        if not registry.uri.startswith("http"):
            raise ConfigError(
                "pods cannot read an MLflow store on a disk", remedy="Set MLFLOW_TRACKING_URI to the MLflow server"
            )
        reference = f"larpo-base:{image_tag or __version__}"
        prefix = f"{image_prefix.rstrip('/')}/" if image_prefix else ""
        documents = deployment(served, prefix + reference, image or VLLM, service_account or ACCOUNT)
    say(yaml.safe_dump_all(documents, sort_keys=False), nl=False)


def _uri(name: str, version: int | None) -> str:
    from larpo_lib.registry import CHAMPION

    return f"models:/{name}@{CHAMPION}" if version is None else f"models:/{name}/{version}"
