"""Everything that a GPU must prove, in order of worth: one JSON file and one Markdown table.

`python -m benchmarks.gpu --minutes 8`, from the root of a checkout. It needs torch, transformers and accelerate; parts
that need more packages are skipped where these are missing, and say so. `--dry-run` goes through all parts on a CPU
with small stand-in models, in under three minutes: its numbers say nothing about a GPU.
"""

import argparse
import json
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.gpu.guard import run_parts
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.table import markdown, summary


def main() -> int:
    """The exit code: 0 where no part failed, was stopped, or found a wrong value."""
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, with small stand-in models")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder for gpu.json, gpu.md and logs")
    parser.add_argument("--parts", nargs="+", choices=names, default=names, metavar="PART", help=", ".join(names))
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    given.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "benchmark": "gpu",
        "dry_run": given.dry_run,
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]]),
        "parts": [],
    }
    chosen = [part for part in PARTS if part.name in given.parts]
    for report in run_parts(chosen, "cpu" if given.dry_run else "cuda", given.out, end):
        found["parts"].append(report)
        print(summary(report), file=sys.stderr, flush=True)
        # anew after each part, so that whoever is stopped has what was found until then
        (given.out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        (given.out / "gpu.md").write_text(markdown(found), "utf-8")
    print(markdown(found))
    return int(any(_is_bad(report) for report in found["parts"]))


def _is_bad(report: dict[str, Any]) -> bool:
    return report["state"] in ("failed", "stopped") or any(row.get("ok") is False for row in report["rows"])


if __name__ == "__main__":
    sys.exit(main())
