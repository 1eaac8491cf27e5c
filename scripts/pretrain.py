"""Pretrain PointBERT by Multi-modal Relation Distillation: `mrd-hf pretrain`, for those who cloned the repository."""

import sys

from mrd_hf_cli.main import main


if __name__ == "__main__":
    main(["pretrain", *sys.argv[1:]])
