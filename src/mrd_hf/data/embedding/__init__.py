"""The teacher's embeddings, cached as columns of a dataset, and which teacher made them."""
