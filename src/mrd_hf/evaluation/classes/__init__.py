"""Classes by their names, prompts and embeddings."""
