"""The study `objectives`: every objective with the same search, on the embedded world and on published lists."""
