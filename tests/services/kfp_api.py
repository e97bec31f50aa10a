"""A double of the Kubeflow Pipelines API (v2beta1), good enough for `kfp.Client`, the `kfp` command and larpo.

It keeps pipelines, versions, experiments and runs in memory. Nothing is run: a run takes the next state of its plan
each time that it is read, so that a test needs no clock.
"""

import json
import ssl
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any

from loopback import Handler, served
from services.kfp_state import Asked, Json, KfpApi, RefusedError

GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 500: 13, 503: 14}
"""The gRPC code that stands in the body of a refusal, by HTTP status."""


@contextmanager
def kfp_api(
    *,
    token: str | None = None,
    multi_user: bool = False,
    namespaces: tuple[str, ...] = ("team",),
    certificate: tuple[Path, Path] | None = None,
) -> Iterator[KfpApi]:
    """The API on a free port of loopback.

    Args:
        token: what every request must bear; None: nobody is asked.
        multi_user: whether experiments have namespaces, as in the Kubeflow platform.
        namespaces: those that may be used, in multi-user mode.
        certificate: files of a certificate and its key, to serve TLS.
    """
    api = KfpApi(token=token, multi_user=multi_user, namespaces=namespaces)
    tls = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*certificate)
    with served(_handler(api), tls) as server:
        api.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}"
        yield api


def _handler(api: KfpApi) -> type[Handler]:
    class Answering(Handler):
        def answer(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            query = dict(urllib.parse.parse_qsl(url.query))
            upload = "/pipelines/upload" in url.path
            data = self.body()
            try:
                body = _body(headers.get("content-type", ""), data)
                given, status = api.answer(Asked(self.command, url.path, query, headers, body)), 200
            except RefusedError as refused:
                given, status = _refusal(refused, upload), refused.status
            self.send(status, json.dumps(given).encode(), {"content-type": "application/json"})

    return Answering


def _body(kind: str, data: bytes) -> Any:
    if kind.startswith("multipart/form-data"):
        form = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + data)
        parts = {str(part.get_param("name", header="content-disposition")): part for part in form.get_payload()}  # type: ignore[union-attr]
        if "uploadfile" not in parts:
            raise RefusedError(400, "Failed to read pipeline from file")
        return parts["uploadfile"].get_payload(decode=True).decode()  # type: ignore[union-attr]
    return json.loads(data) if data else None


def _refusal(refused: RefusedError, upload: bool) -> Json:
    """The body of a refusal: uploads have a form of their own, the rest is the gRPC gateway's."""
    text = str(refused)
    if upload:
        return {"error_message": text, "error_details": text}
    return {"error": text, "code": GRPC.get(refused.status, 2), "message": text, "details": []}
