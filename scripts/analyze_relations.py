"""Show what distillation changed: `mrd-hf analyze`, for those who cloned the repository."""

import sys

from mrd_hf_cli.main import main


if __name__ == "__main__":
    main(["analyze", *sys.argv[1:]])
