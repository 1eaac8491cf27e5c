"""Stand-in for a folder of transformers' tests; see the package above."""
