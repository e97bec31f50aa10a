"""A real S3 server for tests: Ceph's gateway, radosgw, on a cluster of one monitor and one store in memory.

All of it runs as processes of this user, on loopback, from a folder of its own; the machine's own Ceph, if it has one,
is not touched. `install.sh` beside this file installs what it needs.
"""

import secrets
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.processes import Group, free_port, listens, process_group, wait_until

PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "openssl", "radosgw", "radosgw-admin")
REGION = "us-east-1"

_CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{monitor_port}/0]
keyring = {folder}/keyring
run dir = {folder}
pid file =
admin socket =
crash dir = {folder}/crash
log file =
mon cluster log file =
log to stderr = true
log flush on exit = false
ms bind msgr1 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 2000
mon data avail warn = 0
mon data avail crit = 0
[mon]
mon data = {folder}/mon
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
[client]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port} ssl_endpoint=127.0.0.1:{tls_port} ssl_certificate={certificate} \
ssl_private_key={folder}/tls.key
rgw thread pool size = 64
rgw cache enabled = false
"""


@dataclass
class Gateway:
    """A running S3 server.

    Attributes:
        folder: its configuration, keys and logs.
        certificate: of its TLS endpoint, signed by itself.
        access_key, secret_key: the credentials of its only user.
    """

    folder: Path
    certificate: Path
    port: int
    tls_port: int
    access_key: str
    secret_key: str
    _group: Group
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def endpoint(self) -> str:
        """Where it answers in plain HTTP."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls_endpoint(self) -> str:
        """Where it answers by TLS, to clients that trust `certificate`."""
        return f"https://127.0.0.1:{self.tls_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What points boto3, and so larpo, to it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }

    def client(self) -> Any:
        """A boto3 client of its user."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=REGION,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    def kill(self) -> None:
        """Kill the gateway at once, with all requests under way. What is stored stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Start the gateway (again), at the same address, and wait until it answers."""
        self.kill()
        log = self.folder / "radosgw.log"
        command = ["radosgw", *self._cluster(), "-n", "client.rgw", "-f"]
        self._process = self._group.start(command, log)
        wait_until(lambda: listens(self.port) and listens(self.tls_port), self._process, log, seconds=180)

    def _cluster(self) -> list[str]:
        return ["-c", str(self.folder / "ceph.conf")]

    def _call(self, *command: str) -> None:
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=self.folder, timeout=180)
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed:\n{done.stderr[-3000:]}")

    def _start(self) -> None:
        """Make the cluster's keys and stores, start its two servers, make the user, start the gateway."""
        monitor_port, fsid = free_port(), str(uuid.uuid4())
        configuration = _CONFIGURATION.format(fsid=fsid, monitor_port=monitor_port, **vars(self))
        (self.folder / "ceph.conf").write_text(configuration)
        for name in ("mon", "osd", "rgw", "crash"):
            (self.folder / name).mkdir()
        self._make_keys()
        address = f"[v2:127.0.0.1:{monitor_port}]"
        monmap = str(self.folder / "monmap")
        self._call("monmaptool", "--create", "--fsid", fsid, "--enable-all-features", "--addv", "a", address, monmap)
        self._call("ceph-mon", *self._cluster(), "--mkfs", "-i", "a", "--monmap", monmap)
        monitor = self._group.start(["ceph-mon", *self._cluster(), "-i", "a", "-f"], self.folder / "mon.log")
        wait_until(lambda: listens(monitor_port), monitor, self.folder / "mon.log", seconds=60)
        osd = str(uuid.uuid4())
        self._call("ceph", *self._cluster(), "osd", "new", osd, "0")
        self._call("ceph-osd", *self._cluster(), "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._group.start(["ceph-osd", *self._cluster(), "-i", "0", "-f"], self.folder / "osd.log")
        user = ["--uid=larpo", "--display-name=larpo", "--access-key", self.access_key, "--secret-key", self.secret_key]
        self._call("radosgw-admin", *self._cluster(), "user", "create", *user)
        self.restart()

    def _make_keys(self) -> None:
        keyring = str(self.folder / "keyring")
        self._call("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
        for name in ("client.admin", "osd.0", "client.rgw"):
            self._call("ceph-authtool", keyring, "--gen-key", "-n", name, *everything)
        new = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
        files = ["-keyout", str(self.folder / "tls.key"), "-out", str(self.certificate)]
        name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        self._call("openssl", "req", *new, *files, *name)


def missing_programs() -> list[str]:
    """What of Ceph is not installed here."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


@contextmanager
def radosgw() -> Iterator[Gateway]:
    """A gateway with one user and no bucket; it takes about 15 seconds to start.

    Raises:
        RuntimeError: a program is not installed, or does not start.
    """
    missing = missing_programs()
    if missing:
        raise RuntimeError(f"{', '.join(missing)}: not installed; run `make services`")
    folder = Path(tempfile.mkdtemp(prefix="larpo-radosgw-"))
    try:
        with process_group() as group:
            keys = secrets.token_hex(10), secrets.token_hex(20)
            gateway = Gateway(folder, folder / "tls.crt", free_port(), free_port(), *keys, group)
            gateway._start()
            yield gateway
    finally:
        shutil.rmtree(folder, ignore_errors=True)
