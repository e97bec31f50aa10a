"""Where things are kept that can be fetched or made again."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """The folder for them: LARPO_CACHE, else `larpo` in the user's cache directory."""
    if "LARPO_CACHE" in os.environ:
        return Path(os.environ["LARPO_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "larpo"
