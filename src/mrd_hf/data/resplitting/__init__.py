"""A triplet dataset divided anew by names, with labels of its own or a worse teacher."""
