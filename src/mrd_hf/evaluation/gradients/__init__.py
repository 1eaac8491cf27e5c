"""How large the gradients of the loss's terms are, and whether they point the same way."""
