"""Collections of mesh files: geometry from the files, pictures drawn, texts from metadata or names."""
