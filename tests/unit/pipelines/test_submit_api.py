"""How the API is asked, and how every refusal ends in one line without secrets."""

import socket
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from server_double import Asked, Reply, serve
from services.kfp_api import kfp_api
from services.kfp_state import KfpApi

from larpo_kubeflow.pipelines.api import Json, PipelinesApi, read_token
from larpo_kubeflow.pipelines.submit import find_pipeline, require_experiment
from larpo_lib.errors import ConfigError, EndpointError

SECRET = "very-secret-token"


def client(url: str, token: str | None = None, **more: Any) -> PipelinesApi:
    return PipelinesApi(url, token=lambda: token, **more)


def get_run(api: PipelinesApi, run: str) -> Json:
    return api.ask(api.runs.run_service_get_run, run_id=run)


def create_pipeline(api: PipelinesApi, name: str) -> Any:
    return api.ask(api.pipelines.pipeline_service_create_pipeline, pipeline=api.owned(name))["pipeline_id"]


def test_a_namespace_has_pipelines_of_its_own_before_the_shared_ones() -> None:
    with kfp_api(multi_user=True) as server:
        shared, own = client(server.url), client(server.url, namespace="team")
        assert find_pipeline(own, "p") is None
        for api in (shared, own):
            made = create_pipeline(api, "p")
            found = find_pipeline(own, "p")
            assert found is not None
            assert found["pipeline_id"] == made
        assert require_experiment(own, "e", create=True) == require_experiment(own, "e", create=False)
        assert [one["namespace"] for one in server.experiments.values()] == ["team"]
        with pytest.raises(EndpointError, match=r"empty namespace in multi-user mode\. Use --namespace"):
            require_experiment(shared, "e", create=False)
        with pytest.raises(EndpointError, match=r"answered 403: .*the request was for namespace 'others'\.$"):
            require_experiment(client(server.url, namespace="others"), "e", create=False)


@pytest.mark.parametrize("token", [None, "another-token"])
def test_a_wrong_token_is_told_without_any(token: str | None) -> None:
    with kfp_api(token=SECRET) as server:
        find_pipeline(client(server.url, SECRET), "p")
        with pytest.raises(EndpointError, match="answered 401") as raised:
            find_pipeline(client(server.url, token), "p")
    remedy = "Set KFP_TOKEN to a token." if token is None else "The token is wrong or has expired; get a new one."
    assert str(raised.value).endswith(remedy)
    assert "-token" not in str(raised.value)


def test_a_token_that_the_server_says_again_is_not_told() -> None:
    with kfp_api() as server:
        server.fail("GET", 500, f"cannot read {SECRET}\nat line 1")
        with pytest.raises(EndpointError) as raised:
            find_pipeline(client(server.url, SECRET), "p")
    assert str(raised.value).startswith(f"{server.url}: answered 500: cannot read *** at line 1. Check the log")


def test_the_token_comes_from_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KFP_TOKEN", raising=False)
    assert read_token(None)() is None
    file = tmp_path / "token"
    file.write_text("first\n", "utf-8")
    token = read_token(file)
    assert token() == "first"
    file.write_text("second\n", "utf-8")
    assert token() == "second"

    monkeypatch.setenv("KFP_TOKEN", f" {SECRET}\n")
    assert read_token(None)() == SECRET
    with pytest.raises(ConfigError, match=r"both KFP_TOKEN and the file .*token contain a token\. Unset one"):
        read_token(file)
    monkeypatch.setenv("KFP_TOKEN", "two\nlines")
    with pytest.raises(ConfigError, match="KFP_TOKEN does not contain a valid token") as raised:
        read_token(None)
    assert "lines" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "cannot be read"), (b"", "is empty"), (b"\xff", "cannot be r")]
)
def test_a_token_file_without_a_token(
    content: bytes | None, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KFP_TOKEN", raising=False)
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError, match=f"token {problem}"):
        read_token(tmp_path / "token")


@pytest.mark.parametrize("endpoint", ["localhost:8080", "ftp://host", "http://", "http://[", "http://host:port", ""])
def test_an_endpoint_that_is_no_address(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="not an http:// or https:// address"):
        client(endpoint)


def test_an_endpoint_with_a_password_is_refused_without_telling_it() -> None:
    with pytest.raises(ConfigError, match="contains a user or a password") as raised:
        client(f"https://me:{SECRET}@host/pipeline")
    assert SECRET not in str(raised.value)


def test_the_endpoint_may_be_the_uis(server: KfpApi) -> None:
    api = client(f"{server.url}/pipeline/#/runs")
    assert find_pipeline(api, "p") is None
    assert api.run_page("7") == f"{server.url}/pipeline/#/runs/details/7"


def test_ids_do_not_become_other_routes(server: KfpApi) -> None:
    with pytest.raises(EndpointError, match="answered 404"):
        get_run(client(server.url), "../pipelines")
    assert server.paths("GET") == ["/apis/v2beta1/runs/..%2Fpipelines"]


def test_a_server_that_is_down() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(
            EndpointError, match=f"^{url}: the request failed: .*Connection refused. Start the server, or check"
        ):
            find_pipeline(client(url), "p")


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (
            Reply("<html>Log in</html>", headers={"location": "/dex/auth"}, status=302),
            r"answered 302\. Set KFP_TOKEN to a token",
        ),
        (
            Reply("<html>Log in</html>"),
            "the answer is not from the API of Kubeflow Pipelines. Check --endpoint; a login page",
        ),
        (Reply([]), "the answer is not from the API of Kubeflow Pipelines"),
        (Reply({}), "the API's answer has no 'run_id'"),
        (Reply("<html>no such page</html>", status=404), r"answered 404\. Check --endpoint, and the id"),
        (
            Reply({"message": "RBAC: access denied"}, status=403),
            "answered 403: RBAC: access denied. Check the namespace",
        ),
        (Reply({"state": 1}, cut_off=True), "the request failed"),
    ],
)
def test_answers_of_what_is_not_the_api(reply: Reply, problem: str) -> None:
    def answer(_: Asked) -> Reply:
        return reply

    with serve(answer) as server, pytest.raises(EndpointError, match=problem) as raised:
        get_run(client(server.url), "1")["run_id"]
    assert "html" not in str(raised.value)
    assert "\n" not in str(raised.value)


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody signed but itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "double")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*form))
    return folder / "certificate.pem", folder / "key.pem"


def test_a_certificate_is_trusted_only_if_it_is_named(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    with kfp_api(certificate=(certificate, key)) as server:
        assert find_pipeline(client(server.url, ca_certificate=certificate), "p") is None
        with pytest.raises(EndpointError, match=r"certificate is not trusted\. Pass .* with --ca-certificate\."):
            find_pipeline(client(server.url), "p")
    with pytest.raises(ConfigError, match=r"none.pem: is not a readable certificate file"):
        client(server.url, ca_certificate=tmp_path / "none.pem")
    (tmp_path / "text.pem").write_text("no certificate", "utf-8")
    with pytest.raises(ConfigError, match=r"text.pem: is not a readable certificate file"):
        client(server.url, ca_certificate=tmp_path / "text.pem")


def test_time_limits_stop_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("larpo_kubeflow.pipelines.api._LIMITS_S", (10, 0.05))
    with serve(lambda _: Reply({}, after_s=1)) as server:
        api = client(server.url)
        for call in (lambda: get_run(api, "1"), lambda: create_pipeline(api, "p")):
            with pytest.raises(EndpointError, match=f"^{server.url}: no answer in time"):
                call()
        assert len(server.asked) == 2  # a request is not sent twice: the first may have been heard


def test_a_proxy_of_the_environment_is_used_but_for_what_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with kfp_api() as server:
        monkeypatch.setenv("http_proxy", server.url.replace("//", "//me:a%2Fb@"))
        require_experiment(client("http://pipelines.invalid", SECRET), "e", create=True)
        made = server.asked[-1]
        assert made.body == {"display_name": "e"}
        assert made.headers["authorization"] == f"Bearer {SECRET}"
        assert made.headers["proxy-authorization"] == "Basic bWU6YS9i"  # me:a/b
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        find_pipeline(client(server.url), "p")
        assert "proxy-authorization" not in server.asked[-1].headers
