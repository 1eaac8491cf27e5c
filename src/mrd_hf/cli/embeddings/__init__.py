"""Tables of embeddings, and what a run that was killed leaves of one."""
