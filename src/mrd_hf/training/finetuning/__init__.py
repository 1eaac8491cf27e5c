"""Fine-tuning an encoder on labels: classes of shapes, or parts of objects."""
