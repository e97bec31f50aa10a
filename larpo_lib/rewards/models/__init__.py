"""What rerankers run: how a reward model reads a conversation, PairRM itself, and rows that share a prompt."""
