"""The Space's entry: a page on which to classify and search shapes. `mrd-hf app` is the same.

python scripts/app/app.py --model outputs/demo/encoder --collection scripts/demo_data
"""

from mrd_hf.app.server import main
from mrd_hf_cli.running import run_script


if __name__ == "__main__":  # the processes that read uploads import this file as well
    run_script(main)
