"""A triplet dataset split again by names, with labels of its own or a worse teacher."""
