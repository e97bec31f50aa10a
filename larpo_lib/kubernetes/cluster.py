"""The few requests that a training makes of the Kubernetes API, with its refusals told in one line."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

from larpo_lib.errors import ClusterError
from larpo_lib.kubernetes.manifests import GROUP, MANAGED_BY, MANAGER, NODE, PLURAL, RUN, VERSION, run_label
from larpo_lib.parsing import parse_json

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_PATIENCE_S = 300.0
_CONNECT_S, _READ_S, _SILENCE_S = 5.0, 30.0, 60.0
_TRANSIENT = {408, 429, 500, 502, 503, 504}
_DENIED = {401, 403}
_NODES = "jobset.sigs.k8s.io/jobset-name"


class Cluster:
    """One namespace of a cluster, reached as the pod's service account or by the user's kubeconfig.

    The namespace is the pod's own, else the kubeconfig's.

    Args:
        patience_s: how long a request is repeated that does not get through; may be changed at any time.

    Raises:
        ClusterError: there is no cluster to ask, or no namespace is known.
    """

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        from kubernetes import client

        configuration = client.Configuration()
        configuration.connection_pool_maxsize = 100  # one a node whose log is followed
        self.namespace = _load(configuration)
        self.patience_s = patience_s
        self._granted: set[str] = set()
        self._api = client.ApiClient(configuration)
        self._objects = client.CustomObjectsApi(self._api)
        self._core = client.CoreV1Api(self._api)

    def create(self, manifest: Mapping[str, Any]) -> bool:
        """Create a TrainJob. False: there is one of that name."""
        with self._told("create a TrainJob", unless=lambda error: error.status == 409):
            self._ask(self._objects.create_namespaced_custom_object, *self._trainjobs(), manifest)
            return True
        return False

    def get(self, name: str) -> dict[str, Any] | None:
        """A TrainJob, if there is one of that name."""
        with self._told("read a TrainJob", unless=_names_an_object):
            return dict(self._ask(self._objects.get_namespaced_custom_object, *self._trainjobs(), name))
        return None

    def of_run(self, run: str) -> list[dict[str, Any]]:
        """The TrainJobs of all runs of that name, whoever started them."""
        selector = f"{MANAGED_BY}={MANAGER},{RUN}={run_label(run)}"
        with self._told("list TrainJobs"):
            found = self._ask(self._objects.list_namespaced_custom_object, *self._trainjobs(), label_selector=selector)
        jobs: list[dict[str, Any]] = found["items"]
        return jobs

    def delete(self, name: str, *, wait: bool = False) -> None:
        """Delete a TrainJob, if there is one of that name.

        Args:
            name: its name.
            wait: whether it keeps its name until its pods are gone.
        """
        policy = "Foreground" if wait else "Background"
        delete = self._objects.delete_namespaced_custom_object
        with self._told("delete a TrainJob", unless=_is_missing):
            self._ask(delete, *self._trainjobs(), name, propagation_policy=policy)

    def nodes(self, name: str) -> list[dict[str, Any]]:
        """The pods of a TrainJob, as the API gives them in JSON."""
        with self._told("list pods"):
            found = self._ask(self._core.list_namespaced_pod, self.namespace, label_selector=f"{_NODES}={name}")
        pods: list[dict[str, Any]] = self._api.sanitize_for_serialization(found)["items"]
        return pods

    def events(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """The events about the objects of these names, as the API gives them in JSON.

        Raises:
            ClusterError: they may not be read, or the API cannot be reached.
        """
        found: list[dict[str, Any]] = []
        with self._told("list events"):
            for name in names:
                listed = self._ask(
                    self._core.list_namespaced_event, self.namespace, field_selector=f"involvedObject.name={name}"
                )
                found += self._api.sanitize_for_serialization(listed)["items"]
        return found

    def log(self, pod: str, *, follow: bool, since_s: int | None) -> Iterator[bytes]:
        """What a node writes, in pieces, each line behind its time; ends when the node ends, or is silent for long.

        Raises:
            kubernetes.client.ApiException: the pod is gone, or has not started.
            urllib3.exceptions.HTTPError: the connection broke, or brought nothing for a minute.
        """
        response = self._core.read_namespaced_pod_log(
            pod,
            self.namespace,
            container=NODE,
            follow=follow,
            timestamps=True,
            **({} if since_s is None else {"since_seconds": since_s}),
            _preload_content=False,
            _request_timeout=(_CONNECT_S, _SILENCE_S),
        )
        try:
            yield from response.stream(None)
        finally:
            response.close()

    def workflow(self, name: str) -> dict[str, Any]:
        """The workflow of the engine of that name, as the API gives it in JSON."""
        with self._told(f"read workflow {name}"):
            found: dict[str, Any] = self._ask(
                self._objects.get_namespaced_custom_object, "argoproj.io", "v1alpha1", self.namespace, "workflows", name
            )
        return found

    def owner(self) -> dict[str, Any] | None:
        """Reference to the workflow that this pod belongs to; None outside a pipeline's pod of this namespace."""
        name = os.environ.get("KFP_POD_NAME") or os.environ.get("POD_NAME")
        if name is None:
            return None
        with self._told("read the pipeline's pod", unless=_is_missing):  # the pod is in another namespace
            pod = self._api.sanitize_for_serialization(self._ask(self._core.read_namespaced_pod, name, self.namespace))
            for reference in pod["metadata"].get("ownerReferences", []):
                if reference.get("controller"):
                    return {key: reference[key] for key in ("apiVersion", "kind", "name", "uid")}
        return None

    def _trainjobs(self) -> tuple[str, str, str, str]:
        return GROUP, VERSION, self.namespace, PLURAL

    def _ask(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call `method`, again and again where it fails by what may pass.

        An API server that starts refuses for a moment what it allows; what was never allowed is told at once.
        """
        name = method.__name__

        def passes(error: BaseException) -> bool:
            return _is_transient(error) or (name in self._granted and getattr(error, "status", None) in _DENIED)

        again = Retrying(
            retry=retry_if_exception(passes),
            stop=stop_after_delay(self.patience_s),
            wait=wait_exponential(multiplier=0.5, max=30),
            reraise=True,
        )
        answer = again(method, *arguments, _request_timeout=(_CONNECT_S, _READ_S), **options)
        self._granted.add(name)
        return answer

    @contextmanager
    def _told(self, what: str, unless: Callable[[Any], bool] = lambda _: False) -> Iterator[None]:
        """Turn what the client raises into a ClusterError. Its own text is left out: it quotes headers.

        A refusal that `unless` is true of only ends what is done inside.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        place = f"namespace {self.namespace}: cannot {what}"
        try:
            yield
        except ApiException as error:
            if not unless(error):
                raise ClusterError(f"{place}: {_message(error)}", remedy=_remedy(error)) from None
        except HTTPError as error:
            raise ClusterError(
                f"{place}: the Kubernetes API cannot be reached ({type(error).__name__})",
                remedy="A TrainJob that was started keeps running; run the same step again to follow it",
            ) from None


def _load(configuration: Any) -> str:
    """Fill in the client's configuration; returns the namespace that comes with it."""
    from kubernetes import config

    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        pass
    else:
        return _SERVICE_ACCOUNT.read_text("utf-8").strip()
    file = os.environ.get("KUBECONFIG")
    try:
        config.load_kube_config(config_file=file, client_configuration=configuration)
        _, context = config.list_kube_config_contexts(config_file=file)
    except config.ConfigException:
        raise ClusterError(
            "there is no Kubernetes cluster to train on", remedy="Run in a pipeline's pod, or set KUBECONFIG"
        ) from None
    return str(context["context"].get("namespace", "default"))


def _is_transient(error: BaseException) -> bool:
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    return isinstance(error, HTTPError) or (isinstance(error, ApiException) and error.status in _TRANSIENT)


def _is_missing(error: Any) -> bool:
    return bool(error.status == 404)


def _names_an_object(error: Any) -> bool:
    """Whether one object is missing, and not the kind."""
    return _is_missing(error) and bool(_status(error).get("details", {}).get("name"))


def _message(error: Any) -> str:
    return str(_status(error).get("message") or f"it answers {error.status} {error.reason}")


def _status(error: Any) -> dict[str, Any]:
    try:
        status = parse_json(error.body)
    except (TypeError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def _remedy(error: Any) -> str:
    if error.status in (401, 403):
        return "Apply k8s/base, and run the pipeline with the service account larpo-pipeline"
    if error.status == 404:
        return "Install Kubeflow Trainer v2 in the cluster, and apply k8s/base"
    return ""
