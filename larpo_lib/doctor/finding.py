"""What a look at a machine finds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        detail: what was found, in one line, free of secrets.
        remedy: what to install or set if it is not ok.
        needed: the main job (the loop, on this machine) cannot do without.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = False
