"""`python -m mrd_hf`: what `mrd-hf` does, where its script is not on the path. Slower, as it imports torch first."""

from mrd_hf_cli.main import main


main()
