"""Rules that a response follows or not: what rerankers of rules look at."""
