"""Writes requirements/hashes.txt: the sha256 of each file on PyPI that an image may install.

The files are those for Linux on x86_64 and ARM with Python 3.11, and the source. Run it after a version has changed in
constraints.txt, cuda.txt or one of vLLM's lists, and then lock_images.py, which puts the hashes into the images' lists.
It needs uv (`pip install uv`), which asks PyPI; nothing is resolved anew, so no version is chosen here.
"""

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lock_images import HASHES, locked, pinned_elsewhere

MACHINES = {"x86_64-manylinux_2_36": True, "aarch64-manylinux_2_36": False}
"""Platforms by uv's names, and whether every list must be there for them."""


def main() -> None:
    """Ask for each list in turn: some packages are in two lists at two versions."""
    found: dict[str, set[str]] = {}
    for lines in locked().values():
        wanted = [line for line in lines.values() if not pinned_elsewhere(line)]
        for machine, needed in MACHINES.items():
            for name, digest in _hashes(wanted, machine, needed=needed):
                found.setdefault(name, set()).add(digest)
    text = [" ".join([name, *(f"--hash=sha256:{digest}" for digest in sorted(found[name]))]) for name in sorted(found)]
    HASHES.write_text("\n".join(["# Made by requirements/fetch_hashes.py; do not edit.", *text, ""]), "utf-8")


def _hashes(lines: list[str], machine: str, *, needed: bool) -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        asked, lock = Path(folder) / "asked.in", Path(folder) / "pylock.toml"
        asked.write_text("\n".join(lines), "utf-8")
        command = ["uv", "pip", "compile", "--quiet", "--native-tls", "--no-deps", "--format=pylock.toml"]
        command += ["--python-version=3.11", f"--python-platform={machine}", f"--output-file={lock}", str(asked)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
        if done.returncode and needed:
            sys.exit(done.stderr)
        packages: list[dict[str, Any]] = tomllib.loads(lock.read_text("utf-8"))["packages"] if lock.exists() else []
    for package in packages:
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
        yield from ((f"{package['name']}=={package['version']}", file["hashes"]["sha256"]) for file in files)


if __name__ == "__main__":
    main()
