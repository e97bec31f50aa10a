"""The command line: one command a step, and `quickstart`, `run`, `playground`, `doctor`."""

from larpo_lib.cli.app import main

__all__ = ["main"]
