"""Exported encoders beside torch: parity, accuracy on the demo, time."""
