"""A small Punkt model where NLTK looks for its own, so that sentences are counted without a download."""

from pathlib import Path

_ABBREVIATIONS = ("dr", "mr", "e.g", "p.s")


def write_punkt(root: Path) -> Path:
    """Write it below `root`, which is what NLTK_DATA names."""
    folder = root / "tokenizers" / "punkt_tab" / "english"
    folder.mkdir(parents=True)
    (folder / "abbrev_types.txt").write_text("\n".join(_ABBREVIATIONS))
    for name in ("collocations.tab", "sent_starters.txt", "ortho_context.tab"):
        (folder / name).write_text("")
    return root
