"""The report of a run: its content model, its figures, its page and its table for terminals."""
