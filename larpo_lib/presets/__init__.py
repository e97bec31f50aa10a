"""Settings that come with the library, each a TOML file; its first line says what it is.

The folder `studies` holds the grids of `larpo reproduce`, and `benchmarks` how they measure.
"""

from importlib import resources
from pathlib import Path

from larpo_lib.errors import ConfigError

FOLDER = Path(str(resources.files(__name__)))


def preset_names(folder: str = "") -> list[str]:
    """Names of the presets, or of the files in one of the folders beside them."""
    return sorted(path.stem for path in (FOLDER / folder).glob("*.toml"))


def preset_file(name: str) -> Path:
    """The file of a preset.

    Raises:
        ConfigError: there is none of this name.
    """
    known = preset_names()
    if name not in known:
        raise ConfigError(f"unknown preset '{name}'", remedy=f"Use one of {', '.join(known)}")
    return FOLDER / f"{name}.toml"


def preset_summary(name: str) -> str:
    """What a preset says of itself, in one line."""
    return preset_file(name).read_text("utf-8").partition("\n")[0].removeprefix("#").strip()
