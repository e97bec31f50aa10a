"""Speed and memory of training against TRL on the same model, data and precision; `docs/benchmarks.md` has the results."""
