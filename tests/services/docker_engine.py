"""Docker for tests, and the project's images.

A daemon that runs already is used and left running. Otherwise one is started, as root, with Docker's defaults: they
need neither systemd nor cgroups of version 2. `install_docker.sh` beside this file installs it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from runpy import run_path

from services.processes import wait_until

ROOT = Path(__file__).parents[2]
BASE_IMAGE = "python:3.11-slim-bookworm"
LOCAL_BASE_IMAGE = "larpo-python:bookworm"


@dataclass(frozen=True)
class Container:
    """What a container that ended left.

    Attributes:
        out: standard output and standard error.
    """

    code: int
    out: str


@dataclass(frozen=True)
class Engine:
    """A Docker daemon, asked by a program that can build with BuildKit."""

    program: str

    def output(self, *arguments: str) -> str:
        """What a docker command prints.

        Raises:
            RuntimeError: it failed.
        """
        done = subprocess.run([self.program, *arguments], check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"docker {' '.join(arguments[:2])} failed:\n{done.stderr[-3000:]}")
        return done.stdout

    def run(self, image: str, *command: str, options: tuple[str, ...] = ()) -> Container:
        """Run a command in a new container, which is removed when it has ended."""
        done = subprocess.run(
            [self.program, "run", "--rm", "--network", "host", *options, image, *command],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Container(done.returncode, done.stdout)

    def has(self, image: str) -> bool:
        """Whether an image is on this machine."""
        return not subprocess.run(
            [self.program, "image", "inspect", image], check=False, capture_output=True
        ).returncode


@contextmanager
def docker_engine() -> Iterator[Engine]:
    """A Docker daemon, started for the block unless one answers.

    Raises:
        RuntimeError: Docker is not installed, or does not start.
    """
    program = _program()
    if program is None:
        raise RuntimeError("docker with BuildKit is not installed; run `make docker`")
    if _answers(program):
        yield Engine(program)
        return
    if os.getuid() != 0 or shutil.which("dockerd") is None:
        raise RuntimeError("no Docker daemon answers; start one")
    folder = Path(tempfile.mkdtemp(prefix="larpo-docker-"))
    log = folder / "log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(["dockerd"], stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(program), daemon, log, seconds=60)
        yield Engine(program)
    finally:
        daemon.terminate()  # it ends its containers and unmounts their layers
        daemon.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def build_images(engine: Engine, *targets: str) -> dict[str, str]:
    """Build targets of the Dockerfile from HEAD, or find them built, and give the name of each image.

    Raises:
        RuntimeError: a build failed.
    """
    base = os.environ.get("BASE_IMAGE") or _base_image(engine)
    tag = subprocess.run(
        ["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout.strip()
    done = subprocess.run(
        [sys.executable, ROOT / "docker" / "build.py", *targets, "--base-image", base, "--tag", tag],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"docker/build.py failed:\n{done.stdout[-5000:]}")
    return {target: f"larpo-{target}:{tag}" for target in targets}


def _base_image(engine: Engine) -> str:
    """The Dockerfile's base image; where no registry has it, one made from Debian's packages."""
    if engine.has(LOCAL_BASE_IMAGE):
        return LOCAL_BASE_IMAGE
    if engine.has(BASE_IMAGE):
        return BASE_IMAGE
    pulled = subprocess.run([engine.program, "pull", BASE_IMAGE], check=False, capture_output=True, timeout=600)
    if not pulled.returncode:
        return BASE_IMAGE
    done = subprocess.run(
        [ROOT / "docker" / "debootstrap.sh", LOCAL_BASE_IMAGE],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "DOCKER": engine.program},
    )
    if done.returncode:
        raise RuntimeError(f"{BASE_IMAGE} cannot be pulled, and docker/debootstrap.sh failed:\n{done.stdout[-3000:]}")
    return LOCAL_BASE_IMAGE


def _program() -> str | None:
    """The first docker on PATH that builds with BuildKit."""
    try:
        return run_path(str(ROOT / "docker" / "build.py"))["docker_with_buildkit"]()
    except SystemExit:
        return None


def _answers(program: str) -> bool:
    return not subprocess.run([program, "version"], check=False, capture_output=True).returncode
