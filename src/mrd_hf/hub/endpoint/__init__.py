"""What an Inference Endpoint runs beside a checkpoint."""
