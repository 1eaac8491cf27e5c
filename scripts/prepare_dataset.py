"""Turn 3D collections into a dataset of triplets: `mrd-hf prepare`, for those who cloned the repository."""

import sys

from mrd_hf_cli.main import main


if __name__ == "__main__":
    main(["prepare", *sys.argv[1:]])
