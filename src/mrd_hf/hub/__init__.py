"""Pushing checkpoints and datasets to the Hub, with their cards and an endpoint's handler."""
