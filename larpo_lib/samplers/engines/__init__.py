"""What draws: transformers, vLLM's engine, a server. Loads torch, so that entries import it late."""
