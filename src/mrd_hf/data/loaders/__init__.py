"""Training batches from a triplet dataset: map-style and streaming, sampled and augmented."""
