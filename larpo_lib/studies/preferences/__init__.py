"""The study `preferences`: tiny policies from scratch, all objectives, the same published lists.

Its cells are no runs of the loop: nothing is sampled, since the responses and their preferences are published.
"""
