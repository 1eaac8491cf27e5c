"""Encoders as files for other runtimes, ONNX and torch.export, and what runs such a file."""
