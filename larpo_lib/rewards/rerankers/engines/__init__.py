"""What rerankers run: reward models, how they read a conversation, servers. Loads torch, so it is imported late."""
