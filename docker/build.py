"""Builds the images from a clean checkout of HEAD, and prints the build time and size of each.

    python3 docker/build.py --prefix registry.example.org/team

Needs Docker with BuildKit and Python's standard library. The build uses the same package indexes as pip on this
machine: the settings of `pip config list` are passed to it as a secret, which no layer stores. Local folders in these
settings are served to the build on loopback.
"""

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import url2pathname

ROOT = Path(__file__).parents[1]
TARGETS = ("base", "sampler", "trainer", "evaluator", "mlflow")
SETTINGS = ("index-url", "extra-index-url", "find-links", "trusted-host", "proxy", "timeout", "retries")
"""Settings of pip for reaching its indexes."""
FOLDERS = ("index-url", "extra-index-url", "find-links")


def main() -> None:
    """Build the targets on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--variant", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--prefix", default="", help="registry and project, put in front of the image names")
    parser.add_argument("--tag", help="default: the full hash of HEAD")
    parser.add_argument("--base-image", help="default: the Dockerfile's")
    parser.add_argument("--torch-index", help="index of torch's CPU build; default: PyTorch's own index")
    parser.add_argument("--no-cache", action="store_true", help="rebuild every layer")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"unknown target {', '.join(sorted(unknown))}; choose from {', '.join(TARGETS)}")
    build(options)


def build(options: argparse.Namespace) -> None:
    """Build the targets one after the other."""
    docker = docker_with_buildkit()
    revision = _output("git", "rev-parse", "HEAD")
    if _output("git", "status", "--porcelain"):
        print("The working tree has uncommitted changes; the images do not contain them.", file=sys.stderr)
    prefix = f"{options.prefix.rstrip('/')}/" if options.prefix else ""
    arguments = {
        "VARIANT": options.variant,
        "REVISION": revision,
        "BASE_IMAGE": options.base_image,
        "TORCH_INDEX": options.torch_index,
    }
    with tempfile.TemporaryDirectory() as folder, pip_access(Path(folder), pip_settings()) as access:
        context = Path(folder) / "context"
        _checkout(context)
        command = [docker, "build", "--file", str(context / "docker" / "Dockerfile"), *access]
        command += [f"--build-arg={name}={value}" for name, value in arguments.items() if value is not None]
        command += ["--no-cache"] if options.no_cache else []
        for target in options.targets or TARGETS:
            name = f"{prefix}larpo-{target}:{options.tag or revision}"
            start = time.monotonic()
            subprocess.run(
                [*command, "--target", target, "--tag", name, str(context)],
                check=True,
                env={**os.environ, "DOCKER_BUILDKIT": "1"},
            )
            size = int(_output(docker, "image", "inspect", "--format", "{{.Size}}", name))
            print(f"{name}  {time.monotonic() - start:.0f} s  {size / 1e6:.0f} MB", flush=True)


def docker_with_buildkit() -> str:
    """`$DOCKER`, or the first docker on PATH, whose `build` supports secrets. A client without buildx does not."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    found = [shutil.which("docker", path=folder) for folder in folders]
    for program in [os.environ["DOCKER"]] if "DOCKER" in os.environ else filter(None, found):
        shown = subprocess.run(
            [program, "build", "--help"],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
        )
        if "--secret" in shown.stdout:
            return program
    sys.exit("No docker with BuildKit on PATH; install Docker's buildx, or set DOCKER to the program")


def pip_settings() -> dict[str, str]:
    """The settings of `pip config list`. The environment overrides the files."""
    listed = _output(sys.executable, "-m", "pip", "config", "list")
    settings: dict[str, str] = {}
    for scope in ("global.", "install.", ":env:."):
        for line in listed.splitlines():
            key, _, value = line.partition("=")
            if key.startswith(scope):
                settings[key.removeprefix(scope)] = str(ast.literal_eval(value))
    return settings


@contextmanager
def pip_access(folder: Path, settings: dict[str, str]) -> Iterator[list[str]]:
    """Options of `docker build` that give pip in the build the same package indexes as here.

    Args:
        folder: for the files with the secrets.
        settings: of pip. Local folders in them are served on loopback, which the build then shares.
    """
    lines, options = ["[global]"], []
    roots: list[Path] = []
    for name in SETTINGS:
        if name in settings:
            value = settings[name].split()
            if name in FOLDERS:
                value = [_served(word, roots, index=name != "find-links") for word in value]
            lines.append(f"{name} = {' '.join(value)}")
    if "cert" in settings:
        lines.append("cert = /run/secrets/ca.pem")
        options += ["--secret", f"id=ca,src={settings['cert']}"]
    with _server(roots) as port:
        if lines[1:]:
            file = folder / "pip.conf"
            file.touch(0o600)
            file.write_text("\n".join(lines).replace("{port}", str(port)) + "\n", "utf-8")
            options += ["--secret", f"id=pip,src={file}"]
        yield [*options, *(["--network", "host"] if roots else [])]


def _served(word: str, roots: list[Path], *, index: bool) -> str:
    """The address at which `_server` serves a folder; other addresses are returned unchanged."""
    parts = urlsplit(word)
    if parts.scheme not in ("", "file"):
        return word
    path = Path(url2pathname(parts.path)).resolve()
    # The pages of an index link to files next to it, so the parent folder is served.
    roots.append(path.parent if index else path)
    return f"http://127.0.0.1:{{port}}/{len(roots) - 1}/{f'{path.name}/' if index else ''}"


@contextmanager
def _server(roots: Sequence[Path]) -> Iterator[int]:
    """Serve the n-th folder below /n/ on a free loopback port, and yield the port."""

    class Handler(SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            number, _, rest = path.lstrip("/").partition("/")
            self.directory = str(roots[int(number)]) if number.isdecimal() and int(number) < len(roots) else os.devnull
            return super().translate_path(f"/{rest}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def _checkout(folder: Path) -> None:
    folder.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD"], check=True, capture_output=True, cwd=ROOT)
    subprocess.run(["tar", "-x", "-C", folder], check=True, input=archive.stdout)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()


if __name__ == "__main__":
    main()
