"""Commands about Kubeflow Pipelines: compile, upload, submit, wait, terminate."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from larpo_kubeflow.pipelines.limits import Limits
from larpo_lib.cli.app import KUBEFLOW, Commands, Config, Settings, app, say
from larpo_lib.errors import ConfigError
from larpo_lib.pipeline.form import PipelineName

if TYPE_CHECKING:
    from larpo_kubeflow.pipelines.api import PipelinesApi

pipeline_app = Commands(
    rich_markup_mode=None, no_args_is_help=True, help="Manage pipelines and runs on a Kubeflow Pipelines server."
)
app.add_typer(pipeline_app, name="pipeline", rich_help_panel=KUBEFLOW)

_IMAGE = re.compile(r"[a-z0-9][a-z0-9.\-]*(:\d+)?(/[a-z0-9]+([._\-]+[a-z0-9]+)*)*:[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")
"""A reference of an image, as the registries' specification has it, with a tag."""
_RESOURCE = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
"""The name of a resource that a device plugin brings."""
_QUEUE = re.compile(r"([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?")
_CPUS = re.compile(r"[1-9][0-9]*m?|[0-9]+\.[0-9]+")

Server = Annotated[
    str,
    typer.Option(
        "--endpoint",
        envvar="KFP_ENDPOINT",
        help="Address of the API, for example https://kubeflow.example.com/pipeline.",
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(envvar="KFP_NAMESPACE", help="Your namespace, if the installation has more than one."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        envvar="KF_PIPELINES_SA_TOKEN_PATH",
        help="File with the token, as mounted by the cluster. KFP_TOKEN can hold the token instead.",
    ),
]
CaCertificate = Annotated[
    Path | None, typer.Option(envvar="KFP_CA_CERTIFICATE", help="PEM file with the certificates to trust.")
]
Package = Annotated[Path | None, typer.Option(help="Compiled pipeline, written by `larpo compile`.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the run until it ends. Exit code 1 if it fails.")]
Timeout = Annotated[float | None, typer.Option(min=0, help="Seconds to wait. Default: until the run ends.")]
Interval = Annotated[float, typer.Option(min=0.01, help="Seconds between two checks of the run.")]
Parameters = Annotated[
    list[str] | None, typer.Option("--parameter", "-p", help="Set a parameter of the pipeline, for example rounds=3.")
]
ArgumentsFile = Annotated[
    Path | None,
    typer.Option("--arguments", help="JSON file with parameters, written by `larpo reproduce --pipeline`."),
]
RunName = Annotated[str | None, typer.Option(help="Name of the run. Default: the pipeline's name and the time.")]
RunId = Annotated[str, typer.Argument(help="ID of the run.")]


@app.command(name="compile", rich_help_panel=KUBEFLOW)
def compile_(
    output: Annotated[Path, typer.Option(help="YAML file to write.")],
    pipeline: Annotated[PipelineName, typer.Option(help="Which pipeline to compile.")] = "larpo",
    image_prefix: Annotated[str, typer.Option(help="Registry and folder of the images. Empty: local images.")] = "",
    image_tag: Annotated[str | None, typer.Option(help="Tag of all images. Default: larpo's version.")] = None,
    gpu_type: Annotated[str, typer.Option(help="Resource name of the cluster's GPUs.")] = Limits.gpu_type,
    cpus: Annotated[str, typer.Option(help="CPUs of each pod that runs a model, for example 8 or 500m.")] = Limits.cpus,
    queue: Annotated[str, typer.Option(help="Kueue queue for pods that run a model. Empty: none.")] = Limits.queue,
    priority_class: Annotated[
        str, typer.Option(help="Priority class in that queue. Empty: none.")
    ] = Limits.priority_class,
) -> None:
    """Compile a pipeline to a YAML file for Kubeflow Pipelines. The same input gives the same bytes."""
    _require("kfp.kubernetes", "compiling needs the packages kfp and kfp-kubernetes")
    from larpo_kubeflow.components.images import Images
    from larpo_kubeflow.pipelines.compile import compile_pipeline
    from larpo_lib.files import disk_errors

    images = Images(prefix=image_prefix, **({} if image_tag is None else {"tag": image_tag}))
    if output.suffix not in (".yaml", ".yml") or output.is_dir():
        raise ConfigError(f"{output}: Kubeflow accepts only .yaml files", remedy="Use --output FILE.yaml")
    if not _IMAGE.fullmatch(images.reference("base")):
        problem = f"'{images.reference('base')}' is not a valid image name"
        raise ConfigError(problem, remedy="Use, for example, --image-prefix registry.example.com/team --image-tag 1.0")
    for text, allowed, remedy in (
        (gpu_type, _RESOURCE, "Use --gpu-type with a resource name such as nvidia.com/gpu"),
        (cpus, _CPUS, "Use --cpus with an amount such as 8 or 500m"),
        (queue, _QUEUE, "Use --queue with the name of a LocalQueue"),
        (priority_class, _QUEUE, "Use --priority-class with the name of a WorkloadPriorityClass"),
    ):
        if not allowed.fullmatch(text):
            raise ConfigError(f"'{text}' is not valid in Kubernetes", remedy=remedy)
    with disk_errors(output):
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ConfigError(
                f"{output}: the folder cannot be created, because a file has its name",
                remedy="Choose another folder with --output",
            ) from None
        limits = Limits(cpus=cpus, gpu_type=gpu_type, queue=queue, priority_class=priority_class)
        compile_pipeline(pipeline, output, images=images, limits=limits)
    say(str(output))


@pipeline_app.command()
def upload(
    endpoint: Server,
    package: Annotated[Path, typer.Option(help="Compiled pipeline, written by `larpo compile`.")],
    name: Annotated[str | None, typer.Option(help="Name of the pipeline. Default: the name in the package.")] = None,
    version: Annotated[str | None, typer.Option(help="Name of the version. Default: the git commit.")] = None,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    ca_certificate: CaCertificate = None,
) -> None:
    """Upload a compiled pipeline as a new version, and create the pipeline if it does not exist."""
    from larpo_kubeflow.pipelines import submit as client

    chosen = version or client.git_version()
    api = _connect(endpoint, namespace, token_file, ca_certificate)
    pipeline, new = client.upload(api, package, name=name, version=chosen)
    say(f"{pipeline}: version {chosen} {'uploaded' if new else 'exists already, with the same content'}")


@app.command(rich_help_panel=KUBEFLOW)
def submit(
    endpoint: Server,
    package: Package = None,
    pipeline: Annotated[str, typer.Option(help="Name of an uploaded pipeline, if --package is not used.")] = "larpo",
    from_version: Annotated[str, typer.Option(help="Version of the uploaded pipeline.")] = "latest",
    config: Config = None,
    settings: Settings = None,
    parameter: Parameters = None,
    arguments_file: ArgumentsFile = None,
    experiment: Annotated[str, typer.Option(help="Experiment of the run.")] = "larpo",
    create_experiment: Annotated[
        bool, typer.Option("--create-experiment", help="Create the experiment if it does not exist.")
    ] = False,
    run_name: RunName = None,
    pipeline_root: Annotated[
        str | None, typer.Option(help="Where artifacts are stored. Default: the server's setting.")
    ] = None,
    service_account: Annotated[
        str | None, typer.Option(help="Service account of the run's pods. Default: the server's setting.")
    ] = None,
    wait: Wait = False,
    timeout: Timeout = None,
    interval: Interval = 10.0,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    ca_certificate: CaCertificate = None,
) -> None:
    """Start a run of a compiled or uploaded pipeline. --wait follows it until it ends."""
    if package is not None and from_version != "latest":
        raise ConfigError("--package and --from-version cannot be used together", remedy="Pass one of them")
    from larpo_kubeflow.pipelines import submit as client
    from larpo_kubeflow.pipelines.arguments import run_arguments

    api = _connect(endpoint, namespace, token_file, ca_certificate)
    if package is not None:
        source = client.from_package(package)
    else:
        source = client.from_version(api, pipeline, None if from_version == "latest" else from_version)
    arguments = run_arguments(source.parameters, config, settings or (), parameter or (), arguments_file)
    run = {
        "display_name": run_name or f"{source.name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
        "experiment_id": client.require_experiment(api, experiment, create=create_experiment),
        **source.fields,
        "runtime_config": {"parameters": arguments, **({"pipeline_root": pipeline_root} if pipeline_root else {})},
        **({"service_account": service_account} if service_account else {}),
    }
    key = api.ask(api.runs.run_service_create_run, run=run)["run_id"]
    say(f"run {key} started: {api.run_page(key)}")
    if wait:
        _follow(api, key, timeout, interval)


@pipeline_app.command()
def wait(
    run: RunId,
    endpoint: Server,
    timeout: Timeout = None,
    interval: Interval = 10.0,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    ca_certificate: CaCertificate = None,
) -> None:
    """Follow a run until it ends. Exit code 1 if it fails or is cancelled, 3 if --timeout is reached."""
    _follow(_connect(endpoint, namespace, token_file, ca_certificate), run, timeout, interval)


@pipeline_app.command()
def terminate(
    run: RunId,
    endpoint: Server,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    ca_certificate: CaCertificate = None,
) -> None:
    """Stop a run. Its results stay, and the next run with the same root continues from them."""
    api = _connect(endpoint, namespace, token_file, ca_certificate)
    api.ask(api.runs.run_service_terminate_run, run_id=run)
    say(f"run {run} is being terminated")


def _connect(endpoint: str, namespace: str | None, token_file: Path | None, ca: Path | None) -> PipelinesApi:
    _require("kfp_server_api", "this command needs the package kfp")
    from larpo_kubeflow.pipelines.api import PipelinesApi, read_token

    return PipelinesApi(endpoint, token=read_token(token_file), namespace=namespace, ca_certificate=ca)


def _follow(api: PipelinesApi, run: str, timeout_s: float | None, interval_s: float) -> None:
    from larpo_kubeflow.pipelines import submit as client

    try:
        ending = client.follow(api, run, say, timeout_s=timeout_s, interval_s=interval_s)
    except KeyboardInterrupt:
        say(f"larpo: run {run} is still running. {client.how_to_go_on(run)}.", err=True)
        raise typer.Exit(130) from None
    except client.StillRunningError as error:
        say(f"larpo: {error}", err=True)
        raise typer.Exit(3) from None
    if not ending.good:
        say("\n".join([f"larpo: run {run} {ending.state}: {api.run_page(run)}", *ending.causes]), err=True)
        raise typer.Exit(1)


def _require(module: str, problem: str) -> None:
    from importlib.util import find_spec

    if find_spec("kfp") is None or find_spec(module) is None:
        raise ConfigError(problem, remedy="pip install 'larpo[kubeflow]'")
