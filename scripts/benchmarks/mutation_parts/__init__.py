"""What mutated_shapes.py is made of: sound files of every kind, and random changes of their bytes."""
