"""Files and folders that are complete or absent, their digests, and readers of untrusted containers."""
