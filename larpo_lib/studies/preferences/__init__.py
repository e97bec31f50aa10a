"""A list-wise benchmark on published preferences: tiny policies from scratch, all objectives, the same lists."""
