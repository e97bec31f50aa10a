"""What embeds texts. Loads torch, so that entries import it late."""
