"""A page on which to classify and search shapes.

python scripts/app/app.py --model outputs/demo/encoder --collection scripts/demo_data
"""

if __name__ == "__main__":
    # Inside: the processes that read uploads import this file as well, and need nothing of it.
    from server import main

    from mrd_hf.errors import run_script

    run_script(main)
