"""Comparing ways to train: which runs an ablation has, and running them."""
