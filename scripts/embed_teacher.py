"""Cache a teacher's embeddings in a prepared dataset: `mrd-hf embed-teacher`, for those who cloned the repository."""

import sys

from mrd_hf_cli.main import main


if __name__ == "__main__":
    main(["embed-teacher", *sys.argv[1:]])
