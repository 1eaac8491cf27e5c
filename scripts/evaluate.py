"""Score an encoder on a benchmark: `mrd-hf evaluate`, for those who cloned the repository."""

import sys

from mrd_hf_cli.main import main


if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
