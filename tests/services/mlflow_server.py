"""A real MLflow server for tests, and a real PostgreSQL database for it.

Both run as processes on loopback, from folders of their own. `install.sh` beside this file installs PostgreSQL.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.processes import free_port, listens, process_group, wait_until


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's programs, if it is installed here and Python can talk to it."""
    if importlib.util.find_spec("psycopg2") is None:
        return None
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


@contextmanager
def postgres() -> Iterator[str]:
    """The URI, password included, of an empty PostgreSQL database.

    Raises:
        RuntimeError: PostgreSQL is not installed, or does not start.
    """
    programs = postgres_programs()
    if programs is None:
        raise RuntimeError("PostgreSQL or psycopg2 is not installed; run `make services`")
    folder, port = Path(tempfile.mkdtemp(prefix="larpo-postgres-")), free_port()
    owner = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    if owner:
        shutil.chown(folder, owner)
    options = ["-D", folder / "db"]
    try:
        make = [programs / "initdb", *options, "-U", "larpo", "-A", "trust", "--no-sync", "-E", "UTF8"]
        made = subprocess.run(
            [*make, "--locale=C.UTF-8"], check=False, capture_output=True, text=True, cwd=folder, user=owner
        )
        if made.returncode:
            raise RuntimeError(f"initdb failed:\n{made.stderr}")
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        with process_group() as group:
            log = folder / "log"
            server = group.start([programs / "postgres", *options, "-p", str(port), *settings], log, user=owner)
            wait_until(lambda: listens(port), server, log, seconds=60)
            try:
                yield f"postgresql+psycopg2://larpo:hunter2@127.0.0.1:{port}/postgres"
            finally:
                server.send_signal(signal.SIGQUIT)  # so that it gives back its shared memory
                server.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def database(folder: Path) -> Iterator[str]:
    """The URI of an empty database: in PostgreSQL where that is installed, else in a file in `folder`."""
    if postgres_programs() is None:
        yield f"sqlite:///{folder / 'mlflow.db'}"
        return
    with postgres() as uri:
        yield uri


@contextmanager
def mlflow_server(
    backend: str, folder: Path, *, artifacts: str | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The address of an MLflow server; it takes 10 to 45 seconds to start.

    Args:
        backend: URI of its database.
        folder: where its log is.
        artifacts: where it keeps artifacts, a path or an s3:// URI; by default in `folder`.
        environment: variables for it on top of this process's own, such as AWS_*.

    Raises:
        RuntimeError: it does not start.
    """
    port, log = free_port(), folder / "server.log"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", backend, "--serve-artifacts"]
    command += ["--artifacts-destination", artifacts or str(folder / "served")]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

    def healthy() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    with process_group() as group:
        server = group.start(command, log, {**os.environ, **quiet, **(environment or {})})
        wait_until(healthy, server, log, seconds=240)
        yield f"http://127.0.0.1:{port}"
