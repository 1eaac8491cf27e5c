"""Where triplets come from: one file or folder a source."""
