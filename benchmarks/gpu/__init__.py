"""Everything that a GPU must prove, in one command: see `docs/benchmarks.md`, "On a GPU"."""
