"""Convert a published checkpoint of another project: `mrd-hf convert`, for those who cloned the repository."""

import sys

from mrd_hf_cli.main import main


if __name__ == "__main__":
    main(["convert", *sys.argv[1:]])
