"""Where a pod keeps what it fetches: the cache volume, or a directory of its own where the volume cannot be written."""

import logging
import os
import tempfile
from pathlib import Path

from larpo_lib.storage import cache_dir


def use_writable_cache() -> Path:
    """Have LARPO_CACHE, and HF_HOME where models of the hub go, name directories that this process can write.

    Volumes differ in whose they are: those of some storage classes belong to root, and a pod of a pipeline can neither
    change that nor ask the cluster to. Models on such a volume can still be read.

    Returns:
        That of LARPO_CACHE.
    """
    wanted = cache_dir()
    if _writable(wanted):
        os.environ.setdefault("HF_HOME", str(wanted / "huggingface"))
        return wanted
    own = Path(tempfile.gettempdir()) / "larpo-cache"
    own.mkdir(exist_ok=True)
    os.environ["LARPO_CACHE"], os.environ["HF_HOME"] = str(own), str(own / "huggingface")
    logging.getLogger(__name__).warning(
        "%s is not writable for user %d: downloads go to %s and are lost with the pod. Make the volume writable "
            "for group 1000; see docs/kubernetes.md.",
        wanted, os.getuid(), own,
    )  # fmt: skip
    return own


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
