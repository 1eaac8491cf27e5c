"""Upload a checkpoint's folder, or a dataset's, to the Hub: `mrd-hf push`, for those who cloned the repository."""

import sys

from mrd_hf_cli.main import main


if __name__ == "__main__":
    main(["push", *sys.argv[1:]])
