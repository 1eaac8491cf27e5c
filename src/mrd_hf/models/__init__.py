"""What travels to the Hub with a checkpoint: configurations, models, the objective and the feature extractor."""
