"""Statistics that everything which measures shares: one place for each. Pure.

Arguments that make no sense (no values, lengths that differ, `n` out of range) are a ValueError: the caller's mistake.
"""
