"""The Kubeflow Pipelines API (v2beta1) as larpo asks it, by `kfp_server_api`, which `kfp.Client` is made of.

`kfp.Client` itself cannot do it. Its calls have no time limits. Without a namespace it asks the server's health first,
up to five times, and keeps what it found in a file of the user's home. It prints links to standard output, finds only
shared pipelines by their names, and makes none without a version.
"""

import json
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import kfp_server_api as kfp
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as NoAnswerInTimeError
from urllib3.util import Retry, make_headers, parse_url

from larpo_lib.errors import ConfigError, EndpointError
from larpo_lib.parsing import parse_json

Token = Callable[[], str | None]

_LIMITS_S = (10, 60)
"""Longest times to connect, and between two parts of an answer."""
_NO_SERVER = "Start the server, or check --endpoint and the connection to it, such as kubectl port-forward"


class Json(dict[str, Any]):
    """An object of an answer. A field that it lacks is an EndpointError."""

    def __missing__(self, name: str) -> Any:
        raise EndpointError(f"the API's answer has no '{name}'", remedy="Check that the server's version is 2")


def read_token(file: Path | None) -> Token:
    """Where a request's bearer token comes from: the variable KFP_TOKEN, or a file, which is read for each request.

    A token that the cluster mounts is replaced from time to time, so a long wait must not hold the first one.

    Raises:
        ConfigError: both name a token, or the one that is named cannot be used.
    """
    variable = os.environ.get("KFP_TOKEN", "").strip()
    if file is not None and variable:
        raise ConfigError(f"both KFP_TOKEN and the file {file} contain a token", remedy="Unset one of them")
    place = "the environment variable KFP_TOKEN" if file is None else f"the token file {file}"

    def read() -> str | None:
        try:
            token = variable if file is None else file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"{place} cannot be read", remedy="Check --token-file") from None
        if file is not None and not token:
            raise ConfigError(f"{place} is empty", remedy="Check --token-file")
        if not token.isascii() or not (token.isprintable() and " " not in token):
            raise ConfigError(f"{place} does not contain a valid token", remedy="Fix its content")
        return token or None

    read()
    return read


class PipelinesApi:
    """A client of one server.

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
        trusted = _trust(ca_certificate)
        client = kfp.ApiClient(_configuration(self.endpoint, token, ca_certificate))
        client.rest_client.pool_manager.connection_pool_kw["ssl_context"] = trusted
        self.pipelines = kfp.PipelineServiceApi(client)
        self.uploads = kfp.PipelineUploadServiceApi(client)
        self.experiments = kfp.ExperimentServiceApi(client)
        self.runs = kfp.RunServiceApi(client)

    def ask(self, call: Callable[..., Any], **given: Any) -> Json:
        """What the server answers to a call of the library.

        Read here: the library takes a login page for an answer whose every field is missing.

        Raises:
            EndpointError: it refused, gave no answer, or is not the API.
        """
        try:
            data = call(**given, _request_timeout=_LIMITS_S, _preload_content=False).data
            answer = parse_json(data, object_hook=Json)
        except kfp.ApiException as error:
            raise self._refusal(error) from None
        except HTTPError as error:
            raise self._no_answer(getattr(error, "reason", None) or error) from None
        except ValueError:
            answer = None
        if not isinstance(answer, Json):
            problem = f"{self.endpoint}: the answer is not from the API of Kubeflow Pipelines"
            raise EndpointError(problem, remedy="Check --endpoint; a login page may be in front of it")
        return answer

    def first(self, things: str, call: Callable[..., Any], name: str | None, **given: Any) -> Json | None:
        """The first of the things that a call lists; with `name`, of those that have it."""
        equal = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
        answer = self.ask(call, filter=json.dumps({"predicates": [equal]}) if name else None, **given)
        return next(iter(answer.get(things) or ()), None)

    def owned(self, name: str) -> dict[str, str]:
        """A thing of that name in the namespace, as the API takes it."""
        return {"display_name": name} | ({"namespace": self.namespace} if self.namespace else {})

    def run_page(self, run: str) -> str:
        """Address of a run's page in the UI."""
        return f"{self.endpoint}/#/runs/details/{run}"

    def _no_answer(self, error: Exception) -> EndpointError:
        if isinstance(error, NoAnswerInTimeError) and not isinstance(error, NewConnectionError):
            return EndpointError(f"{self.endpoint}: no answer in time", remedy=_NO_SERVER)
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            remedy = "Pass the certificate of the authority that signed the server's certificate with --ca-certificate"
            return EndpointError(f"{self.endpoint}: the server's certificate is not trusted", remedy=remedy)
        said = str(error).partition("): ")[2] or str(error)  # behind the connection that it is about
        return EndpointError(f"{self.endpoint}: the request failed: {said}", remedy=_NO_SERVER)

    def _refusal(self, error: kfp.ApiException) -> EndpointError:
        token = self._token()
        said = " ".join(_message(error).split())
        said = said.replace(token, "***") if token else said
        problem = f"{self.endpoint}: answered {error.status}{': ' + said[:300] if said else ''}"
        return EndpointError(problem, remedy=self._remedy(error.status, token), status=error.status)

    def _remedy(self, status: int, token: str | None) -> str:
        if status == 401 or (status < 400 and not token):
            return "The token is wrong or has expired; get a new one" if token else "Set KFP_TOKEN to a token"
        if status == 403:
            place = f"namespace '{self.namespace}'" if self.namespace else "an installation without namespaces"
            return f"Check the namespace and the permissions of the token's account; the request was for {place}"
        if status < 400 or status in (404, 405):
            return "Check --endpoint, and the id if one was given"
        if status >= 500:
            return "Check the log of the API server (deployment ml-pipeline), or run the command again"
        return "" if self.namespace else "Use --namespace if the installation has a namespace for each user"


def _configuration(endpoint: str, token: Token, ca_certificate: Path | None) -> kfp.Configuration:
    configuration = kfp.Configuration(host=endpoint)
    configuration.retries = Retry(0, redirect=False)  # following a run tries again; a redirect leads to a login page
    configuration.ssl_ca_cert = None if ca_certificate is None else str(ca_certificate)
    parts = urlsplit(endpoint)
    proxy = None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
    if proxy is not None:
        configuration.proxy = proxy
        configuration.proxy_headers = make_headers(proxy_basic_auth=unquote(parse_url(proxy).auth or "") or None)
    if token() is not None:
        configuration.api_key_prefix = {"authorization": "Bearer"}
        configuration.api_key = {"authorization": token()}
        configuration.refresh_api_key_hook = lambda own: own.api_key.update(authorization=token())
    return configuration


def _message(error: kfp.ApiException) -> str:
    """What the API says of a refusal: in the gateway's form, that of uploads, or as plain text that is no page."""
    try:
        body = parse_json(error.body)
    except ValueError:
        return "" if "html" in error.headers.get("content-type", "") else str(error.body)
    names = ("error_message", "message", "error") if isinstance(body, dict) else ()
    return next((str(body[name]) for name in names if body.get(name)), "")


def _checked(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not match
        usable = False
    if not usable:
        raise ConfigError("the endpoint is not an http:// or https:// address", remedy="Fix --endpoint or KFP_ENDPOINT")
    if parts.username or parts.password:
        raise ConfigError("the endpoint contains a user or a password", remedy="Set KFP_TOKEN to a token instead")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _trust(ca_certificate: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_certificate)
    except (OSError, ssl.SSLError):
        problem = f"{ca_certificate}: is not a readable certificate file"
        raise ConfigError(problem, remedy="Pass a PEM file to --ca-certificate") from None
