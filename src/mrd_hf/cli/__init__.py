"""The command line `mrd-hf`: one file a sub-command, and `parser.py` for what it understands."""
