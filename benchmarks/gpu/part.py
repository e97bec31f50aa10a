"""One part, in this process, once a line comes in: `echo | python -m benchmarks.gpu.part NAME --rows FILE`."""

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks.gpu.parts import PARTS, Bench


def main() -> None:
    parts = {part.name: part for part in PARTS}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=[*parts])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--rows", type=Path, required=True)
    given = parser.parse_args()
    part = parts[given.part]
    bench = Bench(given.device, given.rows)
    run = importlib.import_module(f"benchmarks.gpu.{part.module}").run
    bench.log("libraries are loaded")
    if not sys.stdin.readline():  # whoever would have let it begin is gone
        return
    bench.log("begins")
    run(bench, *part.arguments)


if __name__ == "__main__":
    main()
