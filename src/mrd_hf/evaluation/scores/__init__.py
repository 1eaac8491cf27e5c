"""What embeddings are scored by."""
