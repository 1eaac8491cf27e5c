"""What is drawn of a shape besides its own colours."""
