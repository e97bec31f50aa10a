"""A list-wise benchmark on published preferences: tiny policies from scratch, every objective, the same held-out lists."""
