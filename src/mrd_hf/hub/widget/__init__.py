"""The page that classifies shapes in a visitor's browser; scripts/widget holds what it is built from."""
