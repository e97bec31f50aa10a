"""The experiments of the paper as grids of runs."""
