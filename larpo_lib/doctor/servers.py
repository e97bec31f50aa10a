"""The servers that this machine can reach. No secret is read: of credentials it only matters whether they are set."""

import shutil
import subprocess
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from larpo_lib.doctor.finding import Finding

_PROBE_S = 3.0


def docker() -> Finding:
    """The daemon of Docker."""
    command = shutil.which("docker")
    if command is None:
        return Finding("Docker", False, "not installed (for local container runs)", "apt-get install docker.io")
    try:
        done = subprocess.run(  # noqa: S603 - the command is the user's own docker
            [command, "info", "--format", "{{.ServerVersion}}"],
            capture_output=True, text=True, timeout=_PROBE_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Finding("Docker", False, f"the daemon did not answer within {_PROBE_S:g} s", "Restart dockerd")
    version = done.stdout.strip()
    if done.returncode or not version:
        return Finding("Docker", False, "cannot connect to the daemon", "Start dockerd, and join the group docker")
    return Finding("Docker", True, f"daemon {version}")


def s3(environment: Mapping[str, str]) -> Finding:
    """The object store, and whether there are credentials."""
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    credentials = _has_credentials(environment)
    told = f"credentials {'set' if credentials else 'not set'}"
    if endpoint is None:
        remedy = "" if credentials else "To use s3:// paths, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        return Finding("S3", credentials, f"{told}; no endpoint set, so Amazon S3 is used", remedy)
    problem = _probe(endpoint)
    if problem is not None:
        remedy = "Fix AWS_ENDPOINT_URL_S3, or start the store"
        return Finding("S3", False, f"{_public(endpoint)} {problem}; {told}", remedy)
    remedy = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return Finding("S3", credentials, f"{_public(endpoint)} answers; {told}", remedy)


def _has_credentials(environment: Mapping[str, str]) -> bool:
    keys = environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY")
    others = ("AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    return bool(keys) or any(environment.get(name) for name in others) or (Path.home() / ".aws/credentials").is_file()


def mlflow(environment: Mapping[str, str], version: str | None) -> Finding:
    """The tracking server, with the version of the package that is installed."""
    uri = environment.get("MLFLOW_TRACKING_URI")
    if version is None:
        return Finding("MLflow", False, "not installed", "pip install mlflow", needed=True)
    if not uri:
        return Finding("MLflow", True, f"{version}, SQLite store in the run's directory", needed=True)
    if urlsplit(uri).scheme not in ("http", "https"):
        return Finding("MLflow", True, f"{version}, store at {_public(uri)} (not checked)", needed=True)
    problem = _probe(uri.rstrip("/") + "/health", only_success=True)
    detail = f"{version}, {_public(uri)} {problem or 'answers'}"
    remedy = "Start the server, or unset MLFLOW_TRACKING_URI for a local store"
    return Finding("MLflow", problem is None, detail, remedy, needed=True)


def hub(environment: Mapping[str, str]) -> Finding:
    """The Hugging Face hub that models come from by their names, where they are kept, and whether there is a token."""
    from huggingface_hub import constants

    endpoint = (environment.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    signed = environment.get("HF_TOKEN") or Path(constants.HF_TOKEN_PATH).is_file()
    told = f"cache {constants.HF_HUB_CACHE}; token {'set' if signed else 'not set'}"
    if constants.is_offline_mode():
        return Finding("Hub", True, f"HF_HUB_OFFLINE is set: only models in the cache; {told}")
    problem = _probe(f"{endpoint}/api/models?limit=1")
    remedy = "To use models by their names, check the network and HF_ENDPOINT, or set HF_HUB_OFFLINE to use the cache"
    return Finding("Hub", problem is None, f"{_public(endpoint)} {problem or 'answers'}; {told}", remedy)


def _probe(url: str, *, only_success: bool = False) -> str | None:
    """What is wrong with a server; None if it answers. A refusal (403) is an answer unless `only_success`."""
    try:
        request = Request(_public(url), method="GET")  # noqa: S310 - the user's own server
        with urlopen(request, timeout=_PROBE_S):  # noqa: S310
            return None
    except HTTPError as error:
        return None if error.code < 500 and not only_success else f"answers with status {error.code}"
    except (OSError, HTTPException, ValueError) as error:
        return f"cannot be reached ({one_line(error)})"


def _public(uri: str) -> str:
    """`uri` without user name, password and query, which may hold secrets."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def one_line(error: BaseException) -> str:
    """What is wrong, on one line."""
    return " ".join(str(getattr(error, "reason", error)).split())[:200]
