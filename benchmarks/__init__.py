"""Speed and memory of training against TRL on the same model, data and precision: see `docs/benchmarks.md`."""
