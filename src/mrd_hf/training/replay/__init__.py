"""A run's models and batches again, after it has ended."""
