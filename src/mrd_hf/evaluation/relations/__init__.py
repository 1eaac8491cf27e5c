"""How well an encoder keeps its teacher's relations."""
