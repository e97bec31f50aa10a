"""The Kubeflow Pipelines API (v2beta1) as larpo asks it.

The API is asked directly: the SDK's client sets no time limits, takes a login page for an empty answer, prints to
standard output and keeps the namespace in a file of the user's home.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from larpo_lib.errors import ConfigError, EndpointError

Json = dict[str, Any]
Token = Callable[[], str | None]

_LIMITS_S = httpx2.Timeout(60.0, connect=10.0)
_NO_SERVER = "Start the server, or check --endpoint and the way to it, such as kubectl port-forward"


def read_token(file: Path | None) -> Token:
    """Where a request's bearer token comes from: the variable KFP_TOKEN, or a file, which is read for each request.

    A token that the cluster mounts is replaced from time to time, so a long wait must not hold the first one.

    Raises:
        ConfigError: both name a token, or the one that is named cannot be used.
    """
    text = os.environ.get("KFP_TOKEN", "").strip()
    if file is None:
        token = _sendable(text, "the environment variable KFP_TOKEN")
        return lambda: token
    if text:
        raise ConfigError(f"both KFP_TOKEN and the file {file} name a token", remedy="Unset one of them")

    def read() -> str:
        try:
            found = _sendable(file.read_text("utf-8").strip(), f"the token file {file}")
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"the token file {file} cannot be read", remedy="Check --token-file") from None
        if found is None:
            raise ConfigError(f"the token file {file} is empty", remedy="Check --token-file")
        return found

    read()
    return read


class PipelinesApi:
    """A client of one server; a context manager, for its connections.

    Args:
        endpoint: address of the API or of the UI before it, as in https://kubeflow.example.com/pipeline.
        token: gives the bearer token of a request, or None.
        namespace: the user's, where the installation has more than one; None: the installation has one user.
        ca_certificate: file with the certificates to trust; None: those that the machine trusts.

    Raises:
        ConfigError: the address or the certificates cannot be used.
    """

    def __init__(
        self, endpoint: str, *, token: Token, namespace: str | None = None, ca_certificate: Path | None = None
    ) -> None:
        self.endpoint = _checked(endpoint)
        self.namespace = namespace or None
        self._token = token
        self._http = httpx2.Client(timeout=_LIMITS_S, verify=_trust(ca_certificate))

    def __enter__(self) -> PipelinesApi:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def find_pipeline(self, name: str) -> Json | None:
        """The pipeline of that name: the namespace's own, else the one that all namespaces share."""
        for namespace in dict.fromkeys((self.namespace, None)):
            query = {"filter": _equals(name)} | ({"namespace": namespace} if namespace else {})
            found = self._ask("GET", "pipelines", query=query).get("pipelines", [])
            if found:
                return _with(found[0], "pipeline_id")
        return None

    def create_pipeline(self, name: str) -> Json:
        """A pipeline without versions, in the namespace."""
        return _with(self._ask("POST", "pipelines", body=self._owned({"display_name": name})), "pipeline_id")

    def find_version(self, pipeline: str, name: str | None) -> Json | None:
        """The version of that name of a pipeline given by its id, with its spec; None: the latest."""
        query = {"sort_by": "created_at desc", "page_size": "1"} | ({"filter": _equals(name)} if name else {})
        found = self._ask("GET", f"pipelines/{pipeline}/versions", query=query).get("pipeline_versions", [])
        return _with(found[0], "pipeline_version_id") if found else None

    def upload_version(self, pipeline: str, name: str, package: Path, description: str) -> Json:
        """Upload a package as a version of a pipeline given by its id."""
        query = {"name": name, "pipelineid": pipeline, "description": description}
        file = {"uploadfile": (package.with_suffix(".yaml").name, package.read_bytes(), "application/yaml")}
        return _with(self._ask("POST", "pipelines/upload_version", query=query, files=file), "pipeline_version_id")

    def find_experiment(self, name: str) -> Json | None:
        """The experiment of that name in the namespace."""
        query = {"filter": _equals(name)} | ({"namespace": self.namespace} if self.namespace else {})
        found = self._ask("GET", "experiments", query=query).get("experiments", [])
        return _with(found[0], "experiment_id") if found else None

    def create_experiment(self, name: str) -> Json:
        """An experiment in the namespace."""
        return _with(self._ask("POST", "experiments", body=self._owned({"display_name": name})), "experiment_id")

    def create_run(self, run: Json) -> Json:
        """Start a run; `run` has the API's fields."""
        return _with(self._ask("POST", "runs", body=run), "run_id")

    def get_run(self, run: str) -> Json:
        """The run of that id, as it is now."""
        return _with(self._ask("GET", f"runs/{quote(run, safe='')}"), "run_id", "state")

    def terminate_run(self, run: str) -> None:
        """Ask the server to end a run."""
        self._ask("POST", f"runs/{quote(run, safe='')}:terminate")

    def run_page(self, run: str) -> str:
        """Address of a run's page in the UI."""
        return f"{self.endpoint}/#/runs/details/{run}"

    def _owned(self, body: Json) -> Json:
        return body | ({"namespace": self.namespace} if self.namespace else {})

    def _ask(
        self, method: str, path: str, *, query: dict[str, str] | None = None, body: Any = None, files: Any = None
    ) -> Json:
        token = self._token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{self.endpoint}/apis/v2beta1/{path}"
        with _transport_errors(self.endpoint):
            response = self._http.request(method, url, params=query, json=body, files=files, headers=headers)
        if not response.is_success:
            raise self._refusal(response, token)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            problem = f"{self.endpoint}: the answer to {method} {path} is not the API's"
            raise EndpointError(problem, remedy="Check --endpoint; a login page may stand before it")
        return answer

    def _refusal(self, response: httpx2.Response, token: str | None) -> EndpointError:
        status = response.status_code
        said = " ".join(_message(response).split())
        said = said.replace(token, "***") if token else said
        problem = f"{self.endpoint}: answered {status}{': ' + said[:300] if said else ''}"
        return EndpointError(problem, remedy=self._remedy(status, token), status=status)

    def _remedy(self, status: int, token: str | None) -> str:
        if status == httpx2.codes.UNAUTHORIZED or (status < 400 and not token):
            return "The token is wrong or has expired; renew it" if token else "Put a token into KFP_TOKEN"
        if status == httpx2.codes.FORBIDDEN:
            place = f"namespace '{self.namespace}'" if self.namespace else "an installation without namespaces"
            return f"Check the namespace and what the token's account may do there; asked was for {place}"
        if status < 400 or status in (httpx2.codes.NOT_FOUND, httpx2.codes.METHOD_NOT_ALLOWED):
            return "Check --endpoint, and the id if one was given"
        if status >= 500:
            return "Look into the log of the API server (deployment ml-pipeline), or try again"
        return "" if self.namespace else "Give --namespace if the installation has namespaces for its users"


@contextmanager
def _transport_errors(endpoint: str) -> Iterator[None]:
    try:
        yield
    except httpx2.TimeoutException:
        raise EndpointError(f"{endpoint}: no answer in time", remedy=_NO_SERVER) from None
    except httpx2.RequestError as error:
        text = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in text:
            remedy = "Give the file of the authority that signed the server's certificate as --ca-certificate"
            raise EndpointError(f"{endpoint}: the server's certificate is not trusted", remedy=remedy) from None
        raise EndpointError(f"{endpoint}: cannot be asked: {text}", remedy=_NO_SERVER) from None


def _with(answer: Json, *names: str) -> Json:
    """`answer`, if it has what every such answer has."""
    missing = [name for name in names if not answer.get(name)]
    if missing:
        raise EndpointError(f"the API's answer lacks '{missing[0]}'", remedy="Check that the server's version is 2")
    return answer


def _equals(name: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _message(response: httpx2.Response) -> str:
    """What the API says of a refusal: in the gateway's form, that of uploads, or as plain text that is no page."""
    try:
        body = response.json()
    except ValueError:
        return "" if "html" in response.headers.get("content-type", "") else response.text
    if not isinstance(body, dict):
        return ""
    return next((str(body[key]) for key in ("error_message", "message", "error") if body.get(key)), "")


def _checked(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not match
        usable = False
    if not usable:
        raise ConfigError(
            "the endpoint is not an http:// or https:// address", remedy="Mend --endpoint or KFP_ENDPOINT"
        )
    if parts.username or parts.password:
        raise ConfigError("the endpoint holds a user or a password", remedy="Put a token into KFP_TOKEN instead")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _trust(ca_certificate: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_certificate)
    except (OSError, ssl.SSLError):
        problem = f"{ca_certificate}: cannot be read as certificates"
        raise ConfigError(problem, remedy="Give --ca-certificate a PEM file") from None


def _sendable(token: str, place: str) -> str | None:
    if not token:
        return None
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"{place} holds no token", remedy="Mend it")
    return token
